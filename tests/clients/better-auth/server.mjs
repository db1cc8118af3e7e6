// A real Better Auth, so that the tests verify the tokens it issues and not our idea of them.

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";

import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { createJwk, jwt } from "better-auth/plugins/jwt";

const port = Number(process.argv[2]);
const tables = { user: [], session: [], account: [], verification: [], jwks: [] };

const auth = betterAuth({
  baseURL: `http://127.0.0.1:${port}`,
  secret: randomBytes(32).toString("base64"),
  trustedOrigins: ["http://localhost:*"],
  database: memoryAdapter(tables),
  emailAndPassword: { enabled: true },
  plugins: [jwt()],
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
});
const context = await auth.$context;

// Better Auth signs with the newest key and publishes every key it keeps.
process.on("SIGUSR2", async () => {
  await createJwk({ context });
  console.log("rotated");
});
process.on("SIGHUP", () => {
  tables.jwks = tables.jwks.slice(-1);
  console.log("withdrawn");
});

// It would make its first key on demand, and two of them for two requests at once.
await createJwk({ context });

createServer(toNodeHandler(auth)).listen(port, "127.0.0.1", () => console.log("ready"));
