// The plot (../README.md) by Node's clients. BOOTSTRAP, ADAPTERS and ONLY come by the environment.
import { isDeepStrictEqual } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'

const bootstrap = process.env.BOOTSTRAP
const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const baseMs = Math.floor(Date.now() / 1000) * 1000 - 600_000
const text = value => Buffer.from(value)

/** Records of {key, value, headers: [[name, value]], ms}; null is null. */
function plain(count) {
  return Array.from({ length: count }, (_, n) => ({
    key: text(`k${n % 7}`), value: text(`v${n}${' same again'.repeat(n % 50)}`), headers: [], ms: baseMs + n * 10,
  }))
}

function equal(got, wanted, what) {
  if (!isDeepStrictEqual(got, wanted)) throw new Error(`${what}: wanted ${show(wanted)}, got ${show(got)}`)
}

const show = value => JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? Number(one) : one))?.slice(0, 300)

function same(got, wanted, what) {
  equal(got.length, wanted.length, `${what}: number of records`)
  wanted.forEach((want, n) => {
    for (const field of ['key', 'value', 'headers', 'ms']) {
      const plainly = one => (Buffer.isBuffer(one) ? one.toString('latin1') : one)
      equal(plainly(got[n][field]), plainly(want[field]), `${what}: ${field} of record ${n}`)
    }
  })
}

async function until(what, ask, wanted, seconds = 60) {
  for (const deadline = Date.now() + seconds * 1000; ; await sleep(30)) {
    let got
    try {
      got = await ask()
      if (isDeepStrictEqual(got, wanted)) return
    } catch (error) {
      got = String(error)
    }
    if (Date.now() > deadline) throw new Error(`${what}: wanted ${show(wanted)}, got ${show(got)}`)
  }
}

async function fails(client, wanted, call, what) {
  try {
    await call()
  } catch (error) {
    equal(client.code(error), wanted, `${what}: ${error.message}`)
    return
  }
  throw new Error(`${what}: no error`)
}

const plot = {
  async admin(client, prefix) {
    const topic = `${prefix}admin`
    await client.create(topic, 3, { 'retention.ms': '7200000' })
    if (client.config) {
      await until('retention.ms', () => client.config(topic, 'retention.ms'), '7200000')
      await client.setConfig(topic, 'retention.ms', '8000000')
      await until('retention.ms', () => client.config(topic, 'retention.ms'), '8000000')
    }
    await client.grow(topic, 4)
    await until('partitions', () => client.partitions(topic), 4)
    await client.delete(topic)
    await until('topic is listed', async () => (await client.topics()).includes(topic), false)
  },

  async codecs(client, prefix) {
    for (const codec of codecs) {
      const topic = prefix + codec
      await client.create(topic, 1)
      await client.write(topic, 0, plain(300), codec)
      same(await client.read(topic, 0, 300), plain(300), codec)
    }
  },

  async records(client, prefix) {
    const topic = `${prefix}records`
    await client.create(topic, 1)
    const wanted = []
    const shapes = [null, text(''), text('clé-鍵'), Buffer.alloc(5000)]
    for (const key of shapes) {
      for (const value of shapes) {
        wanted.push({ key, value, headers: [['h', '1'], ['ünï', 'wërt']], ms: baseMs + wanted.length })
        wanted.push({ key, value, headers: [], ms: baseMs + wanted.length })
      }
    }
    await client.write(topic, 0, wanted, 'none')
    same(await client.read(topic, 0, wanted.length), wanted, 'from the start')
    same(await client.read(topic, 20, wanted.length), wanted.slice(20), 'from 20')
  },

  async timestamp(client, prefix) {
    const topic = `${prefix}timestamp`
    await client.create(topic, 1)
    await client.write(topic, 0, plain(500), 'none')
    equal(await client.offsetAt(topic, baseMs + 123 * 10 - 5), 123, 'offset at a time')
    same(await client.read(topic, 123, 500), plain(500).slice(123), 'from there')
  },

  group: (client, prefix) => grouped(client, prefix, 'classic'),
  'group-848': (client, prefix) => grouped(client, prefix, 'consumer'),

  async resume(client, prefix) {
    const topic = `${prefix}resume`
    await client.create(topic, 1)
    for (const round of [0, 1]) {
      await client.write(topic, 0, Array.from({ length: 100 }, (_, n) => ({ value: text(`${round} ${n}`) })), 'gzip')
      const seen = new Set()
      const member = await client.join(topic, topic, 'classic', value => seen.add(value))
      try {
        await until('records read', () => seen.size, 100)
      } finally {
        await member.close()
      }
      equal(seen.has('0 99'), round === 0, 'the first round is read again')
      await until('committed', () => client.committed(topic, topic), (round + 1) * 100)
    }
  },

  async transaction(client, prefix) {
    const topic = `${prefix}transaction`
    await client.create(topic, 1)
    const transactions = await client.transactions(`${prefix}id`)
    const wanted = []
    for (const [round, commit] of [true, false, true].entries()) {
      const records = plain(10).map((record, n) => ({ ...record, value: text(`${round} ${n}`) }))
      await transactions.run(topic, records, commit)
      if (commit) wanted.push(...records)
    }
    await transactions.close()
    await client.write(topic, 0, plain(1), 'none')
    // 33 offsets of transactions, three of them markers, and a plain record.
    same(await client.read(topic, 0, 34, true), [...wanted, ...plain(1)], 'committed')
    equal((await client.read(topic, 0, 34, false)).length, 31, 'records in all')
  },

  async errors(client, prefix) {
    const topic = `${prefix}errors`
    await client.create(topic, 1, { 'max.message.bytes': '10000' })
    const large = [{ value: Buffer.alloc(50_000) }]
    await fails(client, 10, () => client.write(topic, 0, large, 'none'), 'too large')
    await fails(client, 36, () => client.create(topic, 1), 'exists')
    await fails(client, 17, () => client.create('no good name!', 1), 'bad name')
    const missing = `${prefix}missing`
    await fails(client, 3, () => (client.config ?? client.delete)(missing, 'retention.ms'), 'unknown topic')
  },
}

async function grouped(client, prefix, protocol) {
  const topic = `${prefix}group-${protocol}`
  await client.create(topic, 6)
  const seen = new Set()
  const members = []
  let written = 0
  try {
    for (const [count, each] of [[1, 6], [3, 2], [2, 3], [1, 6]]) {
      while (members.length > count) await members.pop().close()
      while (members.length < count) members.push(await client.join(topic, topic, protocol, value => seen.add(value)))
      await until('partitions of the members', () => members.map(one => one.assigned()), Array(count).fill(each))
      for (let partition = 0; partition < 6; partition++) {
        const records = Array.from({ length: 10 }, (_, n) => ({ value: text(`${written} ${partition} ${n}`) }))
        await client.write(topic, partition, records, 'none')
      }
      written += 60
      await until('records read', () => seen.size, written)
    }
  } finally {
    for (const member of members) await member.close()
  }
  await until('committed', () => client.committed(topic, topic), written)
}

for (const adapter of process.env.ADAPTERS.split(' ')) {
  const client = await (await import(`./${adapter}.mjs`)).open(bootstrap)
  for (const [feature, run] of Object.entries(plot)) {
    if (!feature.includes(process.env.ONLY ?? '')) continue
    const line = `${client.name} ${client.version} ${feature}`
    try {
      await run(client, `node-${client.name}-${process.pid}-`.replace(/[@/]/g, ''))
      console.log(`ok ${line}`)
    } catch (error) {
      if (error.unsupported) console.log(`skip ${line}: ${error.message}`)
      else {
        console.error(error)
        console.log(`FAIL ${line}: ${String(error.message).replace(/\s+/g, ' ')}`)
      }
    }
  }
}
process.exit(0) // A client that hangs in its closing must not hold the suite.
