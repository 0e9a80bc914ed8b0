// kafkajs: the plot's face. It reads through groups alone, so each reading is a group of its own.
import { createRequire } from 'node:module'
import zlib from 'node:zlib'
import { lz4Compress, lz4Decompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
// kafkajs leaves all but gzip to plugins.
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4Compress(encoder.buffer), decompress: async buffer => lz4Decompress(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer), decompress: async buffer => zlib.zstdDecompressSync(buffer),
})
const types = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }

export async function open(bootstrap) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 5 } })
  const admin = kafka.admin()
  await admin.connect()
  let readings = 0

  const messages = (partition, records) => records.map(record => ({
    key: record.key, value: record.value, headers: Object.fromEntries(record.headers ?? []), partition,
    timestamp: record.ms === undefined ? undefined : String(record.ms),
  }))
  const from = message => ({
    key: message.key, value: message.value, ms: Number(message.timestamp),
    headers: Object.entries(message.headers).map(([name, value]) => [name, String(value)]),
  })

  return {
    name: 'kafkajs',
    version: createRequire(import.meta.url)('kafkajs/package.json').version,
    code: error => error.code ?? error.errors?.[0]?.code ?? error.cause?.code ?? error.cause?.errors?.[0]?.code,

    create: (topic, numPartitions, configs = {}) => admin.createTopics({
      topics: [{ topic, numPartitions, configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })) }],
    }).then(made => {
      if (!made) throw Object.assign(new Error('exists'), { code: 36 })
    }),
    delete: topic => admin.deleteTopics({ topics: [topic] }),
    topics: () => admin.listTopics(),
    grow: (topic, count) => admin.createPartitions({ topicPartitions: [{ topic, count }] }),
    partitions: async topic => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length,
    async config(topic, name) {
      const asked = { type: ConfigResourceTypes.TOPIC, name: topic, configNames: [name] }
      return (await admin.describeConfigs({ resources: [asked] })).resources[0].configEntries[0].configValue
    },
    setConfig: (topic, name, value) => admin.alterConfigs({
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }],
    }),

    async write(topic, partition, records, codec) {
      const producer = kafka.producer({ idempotent: true, retry: { retries: 2 } })
      await producer.connect()
      try {
        await producer.send({ topic, compression: types[codec], messages: messages(partition, records) })
      } finally {
        await producer.disconnect()
      }
    },

    /** Partition 0 from an offset to an end that the caller knows. */
    async read(topic, start, end, committedOnly = false) {
      const groupId = `${topic}-reading-${readings++}`
      const consumer = kafka.consumer({ groupId, readUncommitted: !committedOnly, maxWaitTimeInMs: 200 })
      const found = []
      await consumer.connect()
      try {
        await consumer.subscribe({ topic, fromBeginning: true })
        await new Promise((resolve, reject) => {
          setTimeout(() => reject(new Error(`read ${found.length} records only`)), 30_000).unref()
          consumer.on('consumer.crash', event => reject(event.payload.error))
          consumer.run({
            autoCommit: false,
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
      if (protocol !== 'classic') throw Object.assign(new Error('the client has none'), { unsupported: true })
      const consumer = kafka.consumer({ groupId, heartbeatInterval: 500, sessionTimeout: 10_000, maxWaitTimeInMs: 100 })
      let assigned = 0
      consumer.on('consumer.group_join', event => { assigned = (event.payload.memberAssignment[topic] ?? []).length })
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({
        autoCommitThreshold: 1,
        eachMessage: async ({ message }) => seen(String(message.value)),
      })
      return { assigned: () => assigned, close: () => consumer.disconnect() }
    },

    async committed(groupId, topic) {
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
      return found.partitions.reduce((sum, one) => sum + Number(one.offset), 0)
    },

    async transactions(transactionalId) {
      const producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 })
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
