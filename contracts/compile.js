// Compiles src/ into compiled/ (`node compile.js`), or says whether compiled/ is what src/ gives
// (`node compile.js --check`). solc is looked for where the script lies and in NODE_PATH.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const CONTRACTS = ["DeviceRegistry", "ScopeContract", "EpochCounter", "CredentialAudit"];
const folder = path.resolve(process.env.CONTRACTS ?? ".");
const solc = createRequire(import.meta.url)("solc");

const sources = {};
for (const name of fs.readdirSync(path.join(folder, "src")).sort()) {
  sources[name] = { content: fs.readFileSync(path.join(folder, "src", name), "utf8") };
}
const input = {
  language: "Solidity",
  sources,
  settings: {
    optimizer: { enabled: true, runs: 10000 },
    // Understood by every chain since 2024.
    evmVersion: "cancun",
    // Nothing of the machine in the bytecode.
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const messages = (output.errors ?? []).map((error) => error.formattedMessage);
if (messages.length > 0) {
  // A warning is a fault here.
  console.error(messages.join("\n"));
  process.exit(1);
}

let differs = 0;
for (const name of CONTRACTS) {
  const contract = output.contracts[`${name}.sol`][name];
  const text = JSON.stringify(
    { contract: name, compiler: solc.version(), abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` },
    null,
    1,
  ) + "\n";
  const file = path.join(folder, "compiled", `${name}.json`);
  if (process.argv.includes("--check")) {
    if (!fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text) {
      console.error(`compiled/${name}.json is not what src/ gives`);
      differs += 1;
    }
  } else {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
}
process.exit(differs === 0 ? 0 : 1);
