import { memo, useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import { ask, fetchModels } from "./ask";
import { load, messagesOf, save, type Turn } from "./conversation";

export function App() {
  const [turns, setTurns] = useState(load);
  const [draft, setDraft] = useState("");
  const [models, setModels] = useState<string[]>([]);
  const [model, setModel] = useState("");
  const [problem, setProblem] = useState("");
  const abort = useRef<AbortController>(null);
  const log = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const last = turns.at(-1);
  const busy = last?.state === "streaming";

  async function findModels() {
    setProblem("");
    try {
      const found = await fetchModels();
      setModels(found);
      setModel((chosen) => (found.includes(chosen) ? chosen : (found[0] ?? "")));
    } catch (error) {
      setProblem((error as Error).message);
    }
  }

  async function put(earlier: Turn[], question: string) {
    const controller = new AbortController();
    abort.current = controller;
    let turn: Turn = { question, answer: "", state: "streaming", note: "" };
    const show = (change: Partial<Turn>) => {
      turn = { ...turn, ...change };
      setTurns([...earlier, turn]);
    };
    show({});
    const { complete, note } = await ask(
      model,
      messagesOf(earlier, question),
      (text) => show({ answer: turn.answer + text }),
      controller.signal,
    );
    show({ state: complete ? "complete" : "incomplete", note });
    input.current?.focus();
  }

  function send(event?: FormEvent) {
    event?.preventDefault();
    const question = draft.trim();
    if (busy || !model || !question) return;
    setDraft("");
    void put(turns, question);
  }

  function onKey(event: KeyboardEvent) {
    // An Enter that chooses a word of an input method sends nothing.
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send();
    }
  }

  useEffect(() => void findModels(), []);

  useEffect(() => {
    const stop = (event: globalThis.KeyboardEvent) => {
      if (event.key === "Escape") abort.current?.abort();
    };
    window.addEventListener("keydown", stop);
    return () => window.removeEventListener("keydown", stop);
  }, []);

  useEffect(() => {
    // Not with every token, but never too late.
    const keep = () => save(turns);
    if (!busy) keep();
    window.addEventListener("pagehide", keep);
    return () => window.removeEventListener("pagehide", keep);
  }, [turns, busy]);

  useEffect(() => {
    const box = log.current;
    // Who scrolled up to read is left there.
    if (box && box.scrollHeight - box.scrollTop - box.clientHeight < 160) box.scrollTop = box.scrollHeight;
  }, [turns]);

  return (
    <>
      <header>
        <h1>Chat</h1>
        <label>
          Model{" "}
          <select value={model} onChange={(event) => setModel(event.target.value)} disabled={busy}>
            {models.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <button type="button" onClick={() => setTurns([])} disabled={busy || !last}>
          New conversation
        </button>
      </header>
      <main ref={log} role="log" aria-label="Conversation" tabIndex={0}>
        {turns.map((turn, index) => (
          <Exchange key={index} turn={turn} />
        ))}
        {last?.state === "incomplete" && (
          <button type="button" onClick={() => void put(turns.slice(0, -1), last.question)}>
            Try again
          </button>
        )}
        {problem && (
          <p role="alert" className="note">
            {problem}{" "}
            <button type="button" onClick={() => void findModels()}>
              Look again
            </button>
          </p>
        )}
      </main>
      <form onSubmit={send}>
        <label htmlFor="message">Message</label>
        <textarea
          id="message"
          ref={input}
          rows={3}
          value={draft}
          autoFocus
          aria-describedby="keys"
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={onKey}
        />
        {busy ? (
          <button type="button" onClick={() => abort.current?.abort()}>
            Stop
          </button>
        ) : (
          <button disabled={!model || !draft.trim()}>Send</button>
        )}
        <small id="keys">Enter sends, Shift and Enter begins a line, Escape stops an answer.</small>
      </form>
      <p role="status" className="unseen">
        {last && (busy ? "The answer is coming." : last.note || "The answer is complete.")}
      </p>
    </>
  );
}

const Exchange = memo(function Exchange({ turn }: { turn: Turn }) {
  const busy = turn.state === "streaming";
  return (
    <article>
      <h2>You</h2>
      <p className="text">{turn.question}</p>
      <h2>Answer</h2>
      {/* Read out once it is complete, and not word by word. */}
      <div aria-busy={busy} data-state={turn.state}>
        <p className="text answer">{turn.answer || (busy ? "…" : "")}</p>
        {turn.state === "incomplete" && (
          <p className="note">
            <strong>Incomplete.</strong> {turn.note}
          </p>
        )}
        {turn.state === "complete" && turn.note && <p className="note">{turn.note}</p>}
      </div>
    </article>
  );
});
