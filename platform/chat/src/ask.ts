import { AnswerReader, type Ending } from "./stream";

export type Message = { role: "user" | "assistant"; content: string };

const WORDS: Record<number, string> = {
  413: "The conversation is too long. Begin a new one.",
  429: "Too many are asking at the moment.",
  502: "The platform cannot answer at the moment.",
  503: "The platform has no room at the moment.",
  504: "The platform did not answer in time.",
};

/** Names that can be asked for; throws an Error in words for people. */
export async function fetchModels(): Promise<string[]> {
  const response = await fetch("/api/models").catch(() => {
    throw new Error("The chat cannot be reached.");
  });
  if (!response.ok) throw new Error(await refusal(response));
  return ((await response.json()) as { models: string[] }).models;
}

/**
 * Asks, and hands on the answer's text as it comes. Never throws: how it ended is what it returns,
 * and all text that came before a bad end has been handed on.
 */
export async function ask(
  model: string,
  messages: Message[],
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<Ending> {
  const reader = new AnswerReader();
  try {
    const response = await fetch("/api/chat", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, messages }),
      signal,
    });
    if (!response.ok || !response.body) return { complete: false, note: await refusal(response) };
    const bytes = response.body.getReader();
    for (let part = await bytes.read(); !part.done; part = await bytes.read()) {
      const text = reader.push(part.value);
      if (text) onText(text);
    }
    return reader.end();
  } catch {
    const ending = reader.end();
    // The connection may break after the last word.
    if (ending.complete) return ending;
    return { complete: false, note: signal.aborted ? "You stopped it." : "The connection was lost." };
  }
}

async function refusal(response: Response): Promise<string> {
  let said = "";
  try {
    const body = (await response.json()) as { error?: { message?: unknown } };
    said = String(body.error?.message ?? "");
  } catch {
    // A proxy's page, and no reply of ours.
  }
  const words = WORDS[response.status] ?? (said || `The platform answered ${response.status}.`);
  const after = Number(response.headers.get("retry-after"));
  return after > 0 ? `${words} Try again in ${after} s.` : words;
}
