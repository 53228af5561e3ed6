// Medplum's client against a FHIR API: node medplum.mjs BASE TOKEN; prints what it found as JSON.
import { MedplumClient } from "@medplum/core";

const [base, token] = process.argv.slice(2);
const url = new URL(base);
const client = new MedplumClient({
  baseUrl: `${url.origin}/`,
  fhirUrlPath: url.pathname.slice(1),
  fetch,
  accessToken: token,
  cacheTime: 0,
});

const subjects = await client.searchResources("ResearchSubject", { status: "on-study" });
let observations = 0;
for await (const page of client.searchResourcePages("Observation", { _count: 20 })) observations += page.length;
const read = await client.readResource("ResearchSubject", subjects[0].id);
const patient = await client.readReference(read.individual);
const history = await client.readHistory("ResearchSubject", read.id);
const one = await client.searchOne("Observation", { patient: `Patient/${patient.id}`, _sort: "-date" });
let refused = "";
try {
  await client.readResource("Patient", "nobody");
} catch (error) {
  refused = error.outcome.issue[0].code;
}
console.log(
  JSON.stringify({
    observations,
    subject: read.id,
    patient: patient.resourceType,
    versions: history.entry.length,
    newest: one.resourceType,
    refused,
  }),
);
