// Sends every message of the files named after the port with node-hl7-client, one after the other on one connection,
// and prints MSA-1 and MSA-2 of each answer.
import { readFileSync } from 'node:fs'
import { Client, Message } from 'node-hl7-client'

const [port, ...files] = process.argv.slice(2)
const client = new Client({ host: '127.0.0.1' })

const sendNext = async () => {
  const file = files.shift()
  if (file === undefined) return connection.close()
  return connection.sendMessage(new Message({ text: readFileSync(file, 'utf8').trimEnd() }))
}

const connection = client.createConnection({ port: Number(port) }, async (response) => {
  const answer = response.getMessage()
  console.log(answer.get('MSA.1').toString(), answer.get('MSA.2').toString())
  await sendNext()
})

connection.once('connect', sendNext)
