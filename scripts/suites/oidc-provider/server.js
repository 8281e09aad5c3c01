// An OpenID Connect provider for the console's suite: whoever types a name is that person.
//
// CLIENT_SECRET and REDIRECT_URI come from the environment; the file of READY_FILE says where it
// listens.

import { renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

import Provider from "oidc-provider";

const { CLIENT_SECRET, REDIRECT_URI, READY_FILE } = process.env;

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "artifacts-console",
        client_secret: CLIENT_SECRET,
        redirect_uris: [REDIRECT_URI],
        grant_types: ["authorization_code"],
        response_types: ["code"],
      },
    ],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  });
  server.on("request", provider.callback());
  writeFileSync(`${READY_FILE}.partial`, JSON.stringify({ endpoint: issuer }));
  renameSync(`${READY_FILE}.partial`, READY_FILE);
});
process.on("SIGTERM", () => process.exit(0));
