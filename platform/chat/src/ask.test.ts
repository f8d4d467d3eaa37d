import { afterEach, expect, test, vi } from "vitest";
import { ask, fetchModels } from "./ask";
import { messagesOf, type Turn } from "./conversation";

const GOOD = 'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n';
const BEGUN = 'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n';
const QUESTION = [{ role: "user" as const, content: "hello" }];

afterEach(() => vi.unstubAllGlobals());

function answering(reply: () => Response | Promise<Response>) {
  const fetch = vi.fn(async (_url: string, _how?: RequestInit) => reply());
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

async function asked(signal = new AbortController().signal) {
  let text = "";
  const ending = await ask("chat-fast", QUESTION, (more) => (text += more), signal);
  return { text, ...ending };
}

function broken(begun: string) {
  let sent = false;
  return new ReadableStream<Uint8Array>({
    pull(stream) {
      if (sent) stream.error(new TypeError("network error"));
      else stream.enqueue(new TextEncoder().encode(begun));
      sent = true;
    },
  });
}

test("model and messages are sent, and nothing else", async () => {
  const fetch = answering(() => new Response(GOOD));
  expect(await asked()).toEqual({ text: "hi", complete: true, note: "" });
  expect(JSON.parse(String(fetch.mock.calls[0]?.[1]?.body))).toEqual({ model: "chat-fast", messages: QUESTION });
});

test.each([
  [429, { "retry-after": "7" }, "Too many are asking at the moment. Try again in 7 s."],
  [503, { "retry-after": "1" }, "The platform has no room at the moment. Try again in 1 s."],
  [503, {}, "The platform has no room at the moment."],
  [413, {}, "The conversation is too long. Begin a new one."],
  [400, {}, "in the platform's words"],
])("a refusal is said in words: %d", async (status, headers, note) => {
  const body = JSON.stringify({ error: { message: "in the platform's words" } });
  answering(() => new Response(body, { status, headers: headers as Record<string, string> }));
  expect(await asked()).toEqual({ text: "", complete: false, note });
});

test("a proxy's page is no reason", async () => {
  answering(() => new Response("<h1>Bad gateway</h1>", { status: 520 }));
  expect((await asked()).note).toBe("The platform answered 520.");
});

test("what came before the connection broke is kept", async () => {
  answering(() => new Response(broken(BEGUN)));
  expect(await asked()).toEqual({ text: "hi", complete: false, note: "The connection was lost." });
});

test("a connection that breaks after the last word costs nothing", async () => {
  answering(() => new Response(broken(GOOD)));
  expect((await asked()).complete).toBe(true);
});

test("stopping is no failure of anybody's", async () => {
  const controller = new AbortController();
  controller.abort();
  answering(() => Promise.reject(new DOMException("aborted", "AbortError")));
  expect((await asked(controller.signal)).note).toBe("You stopped it.");
});

test("models that cannot be had are said in words", async () => {
  answering(() => Promise.reject(new TypeError("fetch failed")));
  await expect(fetchModels()).rejects.toThrow("The chat cannot be reached.");
  answering(() => new Response("{}", { status: 503, headers: { "retry-after": "1" } }));
  await expect(fetchModels()).rejects.toThrow("no room at the moment. Try again in 1 s.");
});

test("a question without an answer is not sent again, so that roles take turns", () => {
  const turn = (question: string, answer: string): Turn => ({ question, answer, state: "incomplete", note: "" });
  const sent = messagesOf([turn("a", "A"), turn("b", ""), turn("c", "half")], "d");
  expect(sent.map((message) => message.content)).toEqual(["a", "A", "c", "half", "d"]);
  expect(sent.map((message) => message.role)).toEqual(["user", "assistant", "user", "assistant", "user"]);
});
