// @platformatic/kafka: the plot's face. It reads through groups alone, so each reading is a group of its own.
import { readFileSync } from 'node:fs'
import { Admin, ConfigResourceTypes, Consumer, FetchIsolationLevels, IncrementalAlterConfigOperationTypes, Producer } from '@platformatic/kafka'

export async function open(bootstrap) {
  const base = { clientId: 'plot', bootstrapBrokers: [bootstrap], retries: 3 }
  const admin = new Admin(base)
  let readings = 0

  const messages = (topic, partition, records) => records.map(record => ({
    topic, partition, key: record.key ?? undefined, value: record.value ?? undefined,
    timestamp: record.ms === undefined ? undefined : BigInt(record.ms),
    headers: new Map((record.headers ?? []).map(pair => pair.map(part => Buffer.from(part)))),
  }))
  const from = message => ({
    key: message.key ?? null, value: message.value ?? null, ms: Number(message.timestamp),
    headers: [...message.headers].map(pair => pair.map(String)),
  })
  const produce = settings => new Producer({ ...base, idempotent: true, acks: -1, ...settings })
  const codeOf = error => {
    if (error.apiCode !== undefined) return error.apiCode
    for (const inner of [...(error.errors ?? []), ...(error.cause ? [error.cause] : [])]) {
      const code = codeOf(inner)
      if (code !== undefined) return code
    }
    return undefined
  }

  return {
    name: '@platformatic/kafka',
    version: JSON.parse(readFileSync(new URL('./node_modules/@platformatic/kafka/package.json', import.meta.url))).version,
    code: codeOf,

    create: (topic, partitions, configs = {}) => admin.createTopics({
      topics: [topic], partitions, replicas: 1, configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
    }),
    delete: topic => admin.deleteTopics({ topics: [topic] }),
    topics: () => admin.listTopics(),
    async grow(name, count) {
      const { brokers, topics } = await admin.metadata({ topics: [name] })
      const added = Array.from({ length: count - topics.get(name).partitionsCount }, () => ({ brokerIds: [...brokers.keys()] }))
      await admin.createPartitions({ topics: [{ name, count, assignments: added }] })
    },
    partitions: async topic => (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitionsCount,
    async config(topic, name) {
      const asked = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configurationKeys: [name] }
      return (await admin.describeConfigs({ resources: [asked] }))[0].configs[0].value
    },
    setConfig: (topic, name, value) => admin.incrementalAlterConfigs({
      resources: [{
        resourceType: ConfigResourceTypes.TOPIC, resourceName: topic,
        configs: [{ name, value, configOperation: IncrementalAlterConfigOperationTypes.SET }],
      }],
    }),

    async write(topic, partition, records, compression) {
      const producer = produce({})
      try {
        await producer.send({ messages: messages(topic, partition, records), compression })
      } finally {
        await producer.close()
      }
    },

    /** Partition 0 from an offset to an end that the caller knows. */
    async read(topic, start, end, committedOnly = false) {
      const consumer = new Consumer({ ...base, groupId: `${topic}-reading-${readings++}` })
      const found = []
      try {
        const stream = await consumer.consume({
          topics: [topic], mode: 'manual', offsets: [{ topic, partition: 0, offset: BigInt(start) }], autocommit: false,
          isolationLevel: committedOnly ? FetchIsolationLevels.READ_COMMITTED : FetchIsolationLevels.READ_UNCOMMITTED, maxWaitTime: 200,
        })
        const timer = setTimeout(() => stream.destroy(new Error(`read ${found.length} records only`)), 30_000)
        for await (const message of stream) {
          found.push(from(message))
          if (Number(message.offset) === end - 1) break
        }
        clearTimeout(timer)
      } finally {
        await consumer.close(true)
      }
      return found
    },

    async offsetAt(topic, ms) {
      const found = await admin.listOffsets({
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: BigInt(ms) }] }],
      })
      return Number(found[0].partitions[0].offset)
    },

    async join(groupId, topic, groupProtocol, seen) {
      const timing = groupProtocol === 'classic' ? { heartbeatInterval: 500, sessionTimeout: 10_000, rebalanceTimeout: 10_000 } : {}
      const consumer = new Consumer({ ...base, groupId, groupProtocol, ...timing })
      const stream = await consumer.consume({
        topics: [topic], mode: 'committed', fallbackMode: 'earliest', autocommit: true, maxWaitTime: 100,
      })
      stream.on('data', message => seen(String(message.value)))
      stream.on('error', error => console.error(error))
      const assigned = () => (consumer.assignments ?? []).reduce((sum, one) => sum + one.partitions.length, 0)
      return { assigned, close: () => stream.close().then(() => consumer.close(true)) }
    },

    async committed(groupId, topic) {
      const [group] = await admin.listConsumerGroupOffsets({ groups: [groupId] })
      const found = group.topics.find(one => one.name === topic)
      return found.partitions.reduce((sum, one) => sum + Number(one.committedOffset), 0)
    },

    async transactions(transactionalId) {
      const producer = produce({ transactionalId })
      return {
        async run(topic, records, commit) {
          const transaction = await producer.beginTransaction()
          await transaction.send({ messages: messages(topic, 0, records) })
          await (commit ? transaction.commit() : transaction.abort())
        },
        close: () => producer.close(),
      }
    },
  }
}
