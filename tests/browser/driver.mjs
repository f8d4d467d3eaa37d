// Plays one page of a real Chromium for a test in Python. Each line of its input is a JSON object whose `do` is the body
// of an async function of `page`, `context`, `seen` and `given`; each is answered with one line: {"value"} or {"error"}.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { chromium } = createRequire(new URL("../../platform/chat/package.json", import.meta.url))("playwright-core");
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
const page = await context.newPage();
page.setDefaultTimeout(10_000);

// All that the browser was sent, and all that it complained of.
const seen = { replies: [], complaints: [] };
page.on("console", (message) => {
  if (message.type() === "error") seen.complaints.push(message.text());
});
page.on("pageerror", (error) => seen.complaints.push(String(error)));
page.on("response", async (response) => {
  const headers = await response.allHeaders().catch(() => response.headers());
  const reply = { url: response.url(), status: response.status(), headers, body: "" };
  seen.replies.push(reply);
  reply.body = await response.text().catch(() => "");
});

const AsyncFunction = (async () => {}).constructor;
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  let answer;
  try {
    const act = new AsyncFunction("page", "context", "seen", "given", order.do);
    answer = { value: (await act(page, context, seen, order.given)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
