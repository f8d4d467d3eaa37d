/** How an answer ended; `note` is for people, "" where there is nothing to say. */
export type Ending = { complete: boolean; note: string };

type Chunk = {
  error?: { message?: unknown; type?: unknown };
  choices?: { delta?: { content?: unknown }; finish_reason?: unknown }[];
};

/** Errors that router and backend end a stream with, in words for people. */
const WORDS: Record<string, string> = {
  upstream_lost: "The connection to the model was lost.",
  upstream_stalled: "The model fell silent.",
  router_stopped: "The platform is being restarted.",
  chat_stopped: "The chat is being restarted.",
};

/** Reads server-sent events of a chat completion from bytes, however they were cut. */
export class AnswerReader {
  private readonly decoder = new TextDecoder();
  private line = "";
  private data: string[] = [];
  private finish = "";
  private failure = "";

  /** Takes the next bytes; returns the text of all events that they complete. */
  push(bytes: Uint8Array): string {
    const lines = (this.line + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.line = lines.pop() ?? "";
    return lines.map((line) => this.readLine(line.replace(/\r$/, ""))).join("");
  }

  /** What has come is all. Without a finish reason something is missing, whatever else was said. */
  end(): Ending {
    if (this.failure) return { complete: false, note: this.failure };
    if (this.finish === "stop") return { complete: true, note: "" };
    if (this.finish === "length") return { complete: true, note: "It is as long as it may be." };
    if (this.finish) return { complete: false, note: `The platform ended it (${this.finish}).` };
    return { complete: false, note: "The answer was cut off." };
  }

  private readLine(line: string): string {
    if (line.startsWith("data:")) this.data.push(line.slice(5).replace(/^ /, ""));
    if (line !== "" || this.data.length === 0) return "";
    const event = this.data.join("\n");
    this.data = [];
    return event === "[DONE]" ? "" : this.readEvent(event);
  }

  private readEvent(event: string): string {
    let chunk: Chunk;
    try {
      chunk = JSON.parse(event) as Chunk;
    } catch {
      this.failure ||= "The answer cannot be read.";
      return "";
    }
    if (chunk.error) {
      const said = String(chunk.error.message ?? "The platform failed.");
      this.failure ||= WORDS[String(chunk.error.type)] ?? said;
      return "";
    }
    const choice = chunk.choices?.[0];
    if (typeof choice?.finish_reason === "string") this.finish = choice.finish_reason;
    return typeof choice?.delta?.content === "string" ? choice.delta.content : "";
  }
}
