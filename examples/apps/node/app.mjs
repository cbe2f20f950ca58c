// Books, as a team writes them: no health checks, no metrics, no correlation ids. Node's standard library only.
import { createServer } from "node:http";

const port = Number(process.env.PORT ?? 8080);
const books = new Map([["1", { id: "1", title: "Candide" }], ["2", { id: "2", title: "Nadja" }]]);

const json = (response, status, body) => {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(body === undefined ? "" : JSON.stringify(body));
};
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const read = async (request) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
};

// Five events, one every 100 ms.
const events = async (response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  for (let number = 1; number <= 5 && !response.destroyed; number++) {
    response.write(`data: {"number":${number}}\n\n`);
    await wait(100);
  }
  response.end();
};

const answer = async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const id = pathname.match(/^\/api\/v1\/books\/([^/]+)$/)?.[1];
  const get = request.method === "GET" || request.method === "HEAD";
  if (pathname === "/api/v1/books" && get) return json(response, 200, [...books.values()]);
  if (pathname === "/api/v1/books" && request.method === "POST") {
    const { title } = await read(request).catch(() => ({}));
    if (!title) return json(response, 400, { detail: "title is missing" });
    const book = { id: String(books.size + 1), title };
    books.set(book.id, book);
    return json(response, 201, book);
  }
  if (id && get) return books.has(id) ? json(response, 200, books.get(id)) : json(response, 404, { detail: "no such book" });
  if (pathname === "/api/v1/slow") {
    await wait(Number(searchParams.get("ms") ?? 1500));
    return json(response, 200, { slept: true });
  }
  if (pathname === "/api/v1/events") return events(response);
  if (pathname === "/api/v1/fail") throw new Error("password=hunter2 at db.internal");
  // What came in, so that a test sees what was added on the way.
  if (pathname === "/api/v1/echo") return json(response, 200, { method: request.method, headers: request.headers });
  json(response, 404, { detail: "Not Found" });
};

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error.message);
    if (!response.headersSent) json(response, 500, { detail: error.message });
    else response.destroy();
  });
});
server.listen(port, () => console.log(`node books on ${port}`));
process.on("SIGTERM", () => process.exit(0));
