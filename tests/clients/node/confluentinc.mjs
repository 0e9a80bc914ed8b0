// @confluentinc/kafka-javascript (librdkafka): the plot's face, mostly by its KafkaJS half.
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import confluentinc from '@confluentinc/kafka-javascript'

const { AdminClient, KafkaJS: { Kafka, logLevel } } = confluentinc

export async function open(bootstrap) {
  const kafka = new Kafka({ kafkaJS: { brokers: [bootstrap], logLevel: logLevel.NOTHING } })
  const admin = kafka.admin()
  await admin.connect()
  let readings = 0

  const produce = settings => kafka.producer({ kafkaJS: { idempotent: true, ...settings }, 'linger.ms': 0 })
  const messages = (partition, records) => records.map(record => ({
    key: record.key, value: record.value, headers: Object.fromEntries(record.headers ?? []), partition,
    timestamp: record.ms === undefined ? undefined : String(record.ms),
  }))
  const from = message => ({
    key: message.key, value: message.value, ms: Number(message.timestamp),
    headers: Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]),
  })

  return {
    name: '@confluentinc/kafka-javascript',
    version: createRequire(import.meta.url)('@confluentinc/kafka-javascript/package.json').version,
    code: error => error.errors?.[0]?.code ?? error.code,

    create: (topic, numPartitions, configs = {}) => admin.createTopics({
      topics: [{ topic, numPartitions, configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })) }],
    }).then(made => {
      if (!made) throw Object.assign(new Error('exists'), { code: 36 })
    }),
    delete: topic => admin.deleteTopics({ topics: [topic] }),
    topics: () => admin.listTopics(),
    async grow(topic, count) {
      const older = AdminClient.create({ 'bootstrap.servers': bootstrap })
      try {
        await promisify(older.createPartitions.bind(older))(topic, count, 10_000)
      } finally {
        older.disconnect()
      }
    },
    partitions: async topic => (await admin.fetchTopicMetadata({ topics: [topic] }))[0].partitions.length,

    async write(topic, partition, records, compression) {
      const producer = produce({ compression })
      await producer.connect()
      try {
        await producer.send({ topic, messages: messages(partition, records) })
      } finally {
        await producer.disconnect()
      }
    },

    /** Partition 0 from an offset to an end that the caller knows. */
    async read(topic, start, end, committedOnly = false) {
      const groupId = `${topic}-reading-${readings++}`
      const consumer = kafka.consumer({
        kafkaJS: { groupId, readUncommitted: !committedOnly, fromBeginning: true, autoCommit: false },
      })
      const found = []
      await consumer.connect()
      try {
        await consumer.subscribe({ topic })
        await new Promise((resolve, reject) => {
          setTimeout(() => reject(new Error(`read ${found.length} records only`)), 30_000).unref()
          consumer.run({
            eachMessage: async ({ message }) => {
              if (Number(message.offset) < start) return
              found.push(from(message))
              if (Number(message.offset) === end - 1) resolve()
            },
          }).catch(reject)
          consumer.seek({ topic, partition: 0, offset: String(start) })
        })
      } finally {
        await consumer.disconnect()
      }
      return found
    },

    offsetAt: async (topic, ms) => Number((await admin.fetchTopicOffsetsByTimestamp(topic, ms))[0].offset),

    async join(groupId, topic, protocol, seen) {
      const consumer = kafka.consumer({
        kafkaJS: { groupId, fromBeginning: true, autoCommitInterval: 200 }, 'group.protocol': protocol,
      })
      await consumer.connect()
      await consumer.subscribe({ topic })
      await consumer.run({ eachMessage: async ({ message }) => seen(String(message.value)) })
      return { assigned: () => consumer.assignment().length, close: () => consumer.disconnect() }
    },

    async committed(groupId, topic) {
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
      return found.partitions.reduce((sum, one) => sum + Number(one.offset), 0)
    },

    async transactions(transactionalId) {
      const producer = produce({ transactionalId })
      await producer.connect()
      return {
        async run(topic, records, commit) {
          const transaction = await producer.transaction()
          await transaction.send({ topic, messages: messages(0, records) })
          await (commit ? transaction.commit() : transaction.abort())
        },
        close: () => producer.disconnect(),
      }
    },
  }
}
