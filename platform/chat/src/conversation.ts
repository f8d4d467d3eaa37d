import type { Message } from "./ask";

/** One question with its answer. An incomplete answer keeps what came of it. */
export type Turn = {
  question: string;
  answer: string;
  state: "streaming" | "complete" | "incomplete";
  note: string;
};

const KEY = "conversation";

/** What to send: questions that had an answer with it, then the new one, so that roles take turns. */
export function messagesOf(turns: Turn[], question: string): Message[] {
  const before = turns
    .filter((turn) => turn.answer !== "")
    .flatMap((turn): Message[] => [
      { role: "user", content: turn.question },
      { role: "assistant", content: turn.answer },
    ]);
  return [...before, { role: "user", content: question }];
}

/** The conversation of this tab, as long as it is open; [] where there is none. */
export function load(): Turn[] {
  try {
    const turns = JSON.parse(sessionStorage.getItem(KEY) ?? "[]") as Turn[];
    return turns.map((turn) =>
      turn.state === "streaming"
        ? { ...turn, state: "incomplete", note: "The page was left while it came." }
        : turn,
    );
  } catch {
    return [];
  }
}

export function save(turns: Turn[]): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(turns));
  } catch {
    // Full, or forbidden: the conversation then lasts as long as the page.
  }
}
