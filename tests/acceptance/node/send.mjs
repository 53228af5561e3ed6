// Sends every message of the files named after the port with node-hl7-client and prints MSA-1 and MSA-2 of each answer.
import { readFileSync } from 'node:fs'
import { Client, Message } from 'node-hl7-client'

const [port, ...files] = process.argv.slice(2)
const client = new Client({ host: '127.0.0.1' })
let answered = 0

const connection = client.createConnection({ port: Number(port), waitAck: true }, async (response) => {
  const answer = response.getMessage()
  console.log(answer.get('MSA.1').toString(), answer.get('MSA.2').toString())
  answered += 1
  if (answered === files.length) await connection.close()
})

for (const file of files) {
  await connection.sendMessage(new Message({ text: readFileSync(file, 'utf8').trimEnd() }))
}
