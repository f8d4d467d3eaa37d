import { describe, expect, test } from "vitest";
import { AnswerReader } from "./stream";

const bytes = (text: string) => new TextEncoder().encode(text);
const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
const word = (content: string, finish_reason: string | null = null) =>
  event({ choices: [{ delta: { content }, finish_reason }] });
const DONE = "data: [DONE]\n\n";
const GOOD = event({ choices: [{ delta: { role: "assistant" } }] }) + word("Grüße ") + word("🦙") + word("!", "stop") + DONE;

function read(...parts: Uint8Array[]) {
  const reader = new AnswerReader();
  const text = parts.map((part) => reader.push(part)).join("");
  return { text, ...reader.end() };
}

test("any cut of the bytes gives the same answer, also inside a character", () => {
  const all = bytes(GOOD);
  for (let at = 0; at <= all.length; at++) {
    expect(read(all.slice(0, at), all.slice(at))).toEqual({ text: "Grüße 🦙!", complete: true, note: "" });
  }
  expect(read(...[...all].map((byte) => Uint8Array.of(byte))).text).toBe("Grüße 🦙!");
});

test("text is there as soon as its event is, and not before", () => {
  const reader = new AnswerReader();
  expect(reader.push(bytes(word("one").slice(0, -1)))).toBe("");
  expect(reader.push(bytes("\n" + word("two")))).toBe("onetwo");
});

test("lines may end as Windows ends them, and comments keep a silent stream alive", () => {
  const text = ": keep-alive\n\n" + GOOD;
  expect(read(bytes(text.replaceAll("\n", "\r\n"))).text).toBe("Grüße 🦙!");
});

test("data of one event may be on several lines", () => {
  const lines = 'data: {"choices":[{"delta":{"content":"x"},\ndata:"finish_reason":"stop"}]}\n\n';
  expect(read(bytes(lines))).toEqual({ text: "x", complete: true, note: "" });
});

describe("an answer is incomplete", () => {
  test.each([
    ["when nothing came", "", "", "The answer was cut off."],
    ["when it is cut before its finish reason", word("a"), "a", "The answer was cut off."],
    ["when it is over without one", word("a") + DONE, "a", "The answer was cut off."],
    ["when it is cut inside an event", word("a") + word("b", "stop").slice(0, -1), "a", "The answer was cut off."],
    [
      "when an error comes inside a 200",
      word("a") + event({ error: { message: "x", type: "upstream_lost", code: 502 } }) + DONE,
      "a",
      "The connection to the model was lost.",
    ],
    ["when the error is one we do not know", event({ error: { message: "Out of memory" } }), "", "Out of memory"],
    ["when the engine gave it up", word("a", "abort") + DONE, "a", "The platform ended it (abort)."],
    ["when it is no JSON", word("a", "stop") + "data: {\n\n", "a", "The answer cannot be read."],
  ])("%s", (_, stream, text, note) => {
    expect(read(bytes(stream))).toEqual({ text, complete: false, note });
  });
});

test("an answer that reached its length is complete, and says so", () => {
  expect(read(bytes(word("a", "length") + DONE))).toEqual({
    text: "a",
    complete: true,
    note: "It is as long as it may be.",
  });
});

test("what is no text is not shown", () => {
  const odd = event({ choices: [] }) + event({ choices: [{ delta: { content: null } }] }) + event({ choices: [{ delta: { content: 7 } }] });
  expect(read(bytes(odd)).text).toBe("");
});
