// fhir-kit-client against a FHIR API: node fhir-kit.mjs BASE TOKEN; prints what it found as JSON.
import Client from "fhir-kit-client";

const [baseUrl, token] = process.argv.slice(2);
const client = new Client({ baseUrl, bearerToken: token });

const statement = await client.capabilityStatement();
let bundle = await client.search({ resourceType: "Observation", searchParams: { _count: 20 } });
let observations = 0;
for (; bundle; bundle = await client.nextPage({ bundle })) observations += bundle.entry.length;
const byForm = await client.search({
  resourceType: "ResearchSubject",
  searchParams: { status: "on-study" },
  options: { postSearch: true },
});
const subject = byForm.entry[0].resource;
const read = await client.read({ resourceType: "ResearchSubject", id: subject.id });
const patient = await client.resolve({ reference: read.individual.reference, context: byForm });
const history = await client.resourceHistory({ resourceType: "ResearchSubject", id: subject.id });
let refused = 0;
try {
  await client.read({ resourceType: "Patient", id: "nobody" });
} catch (error) {
  refused = error.response.status;
}
console.log(
  JSON.stringify({
    fhirVersion: statement.fhirVersion,
    observations,
    subject: read.id,
    patient: patient.resourceType,
    versions: history.entry.length,
    refused,
  }),
);
