// Writes two files for each board, one to be provisioned and one to be imported, and the provisioning file of the alert rules.
//
// Usage: node build/generate.js FOLDER
import type { Dashboard } from "@grafana/schema";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { operations, product, sales } from "./boards/kpi.js";
import { kubernetes } from "./boards/kubernetes.js";
import { noc } from "./boards/noc.js";
import { pipeline } from "./boards/pipeline.js";
import { pods } from "./boards/pods.js";
import { probes } from "./boards/probes.js";
import { security } from "./boards/security.js";
import { slo } from "./boards/slo.js";
import { traffic } from "./boards/traffic.js";
import { uses } from "./boards/uses.js";
import { importable } from "./board.js";
import { provisioning } from "./rules.js";

const all = [
    noc,
    traffic,
    security,
    slo,
    probes,
    kubernetes,
    pods,
    uses,
    pipeline,
    operations,
    sales,
    product,
] satisfies Dashboard[];

const [folder = "."] = process.argv.slice(2);

function write(name: string, content: object): void {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
}

for (const board of all) {
    write(join("dashboards", `${String(board.uid)}.json`), board);
    // Compact: it is for programs, and the same board.
    const file = join(folder, "import", `${String(board.uid)}.json`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(importable(board))}\n`);
}
write("provisioning/alerting/rules.json", provisioning());
