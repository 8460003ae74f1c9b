// graphile-worker as it goes fastest: jobs are added by one statement, come to a worker in batches
// (local queue), and are completed in batches. `fill` adds jobs for as many people, and prints what
// the first of them is sent; `work` waits for a line on stdin and works until it is ended.
// Each message adds the next one, as many as STEPS says.
// The server is where PGHOST, PGUSER and PGDATABASE say; TEMPLATE and PERSON are JSON.

import { makeWorkerUtils, run, Logger } from "graphile-worker";
import { Liquid } from "liquidjs";
import pg from "pg";
import { once } from "node:events";

const engine = new Liquid();
const template = Object.entries(JSON.parse(process.env.TEMPLATE))
  .map(([name, text]) => [name, engine.parse(text)]);
const steps = Number(process.env.STEPS);
const person = JSON.parse(process.env.PERSON);

function render(variables) {
  return Object.fromEntries(
    template.map(([name, parsed]) => [name, engine.renderSync(parsed, variables)]),
  );
}

async function fill(number) {
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  for (let at = 0; at < number; at += 5000) {
    await utils.addJobs(Array.from({ length: Math.min(5000, number - at) }, (_, i) => ({
      identifier: "send",
      payload: { ...person, email: `user${at + i}@example.com`, step: 1 },
    })));
  }
  await utils.release();
  console.log(JSON.stringify(render(person)));
}

async function send(variables, { addJob }) {
  render(variables);
  if (variables.step < steps) {
    await addJob("send", { ...variables, step: variables.step + 1 });
  }
}

async function work() {
  console.log("ready");
  await once(process.stdin, "data");
  const runner = await run({
    pgPool,
    logger,
    noHandleSignals: true,
    taskList: { send },
    preset: {
      worker: {
        concurrentJobs: 40,
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        localQueue: { size: 500 },
      },
    },
  });
  await runner.promise;
}

const logger = new Logger(() => () => {});
const pgPool = new pg.Pool({ max: 40 });
pgPool.on("error", console.error);
pgPool.on("connect", (client) => client.on("error", console.error));
await (process.argv[2] === "fill" ? fill(Number(process.argv[3])) : work());
await pgPool.end();
