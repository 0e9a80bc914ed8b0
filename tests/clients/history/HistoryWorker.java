// One Java client in a process of its own, until SIGTERM: it writes down what it does, as worker.py does.
// Roles: producer (idempotent), group (member of `readers`), transactions (input to output, once).

import java.io.FileOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.zip.CRC32C;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public class HistoryWorker {
  static final Map<String, String> options = new HashMap<>();
  static volatile boolean goesOn = true;
  static String proc;
  static FileOutputStream diary;
  static Random chance;
  static int assignment = 0;

  public static void main(String[] arguments) throws Exception {
    for (int at = 0; at < arguments.length; at += 2) options.put(arguments[at].substring(2), arguments[at + 1]);
    proc = "java-" + options.get("role") + "-" + options.get("number") + "-" + options.get("life");
    chance = new Random((options.get("seed") + proc).hashCode());
    diary = new FileOutputStream(options.get("folder") + "/" + proc + ".jsonl", true);
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      goesOn = false;
      try { main.join(60_000); } catch (InterruptedException e) { }
    }));
    switch (options.get("role")) {
      case "producer" -> produce();
      case "group" -> group();
      case "transactions" -> transactions();
      default -> throw new IllegalArgumentException(options.get("role"));
    }
  }

  // A line: names and values by turns. Values that are numbers, booleans or lists stand as they are.
  static void note(String op, String type, Object... fields) {
    StringBuilder line = new StringBuilder("{\"t\":" + System.nanoTime() + ",\"proc\":\"" + proc + "\"");
    line.append(",\"op\":\"" + op + "\",\"type\":\"" + type + "\"");
    for (int at = 0; at < fields.length; at += 2) {
      Object value = fields[at + 1];
      if (value == null) continue;
      boolean isText = value instanceof String text && !text.startsWith("[");
      line.append(",\"" + fields[at] + "\":" + (isText ? "\"" + value + "\"" : value));
    }
    byte[] bytes = line.append("}\n").toString().getBytes(StandardCharsets.UTF_8);
    // The producer's own thread writes too: one call, one line.
    synchronized (diary) {
      try { diary.write(bytes); } catch (java.io.IOException e) { throw new java.io.UncheckedIOException(e); }
    }
  }

  static Properties settings() {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", options.get("bootstrap"));
    settings.put("client.id", proc);
    settings.put("reconnect.backoff.ms", "20");
    settings.put("reconnect.backoff.max.ms", "200");
    settings.put("retry.backoff.ms", "20");
    settings.put("retry.backoff.max.ms", "200");
    settings.put("request.timeout.ms", "10000");
    return settings;
  }

  static KafkaProducer<byte[], byte[]> producer(String tid) {
    Properties settings = settings();
    settings.put("linger.ms", "5");
    settings.put("max.block.ms", "60000");
    settings.put("compression.type", List.of("none", "lz4", "zstd", "gzip").get(chance.nextInt(4)));
    settings.put("delivery.timeout.ms", tid == null ? "300000" : "20000");
    if (tid != null) {
      settings.put("transactional.id", tid);
      settings.put("transaction.timeout.ms", "20000");
    }
    return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
  }

  static void send(KafkaProducer<byte[], byte[]> producer, String topic, String txn, String from) {
    byte[] identity = new byte[16];
    chance.nextBytes(identity);
    String value = HexFormat.of().formatHex(identity);
    int partition = chance.nextInt(Integer.parseInt(options.get("partitions")));
    byte[] key = Integer.toString(chance.nextInt(1000)).getBytes(StandardCharsets.UTF_8);
    ByteBuffer body = ByteBuffer.allocate(18 + chance.nextInt(200) + 4);
    body.put(identity).putShort((short) key.length);
    body.putInt(body.capacity() - 4, crc(key, body.array(), body.capacity() - 4));
    note("send", "invoke", "tp", topic + "-" + partition, "value", value, "prod", proc, "mode", "idempotent",
        "txn", txn, "from", from);
    producer.send(new ProducerRecord<>(topic, partition, key, body.array()), (metadata, error) -> {
      if (error == null) note("send", "ok", "value", value, "offset", metadata.offset());
      else note("send", "info", "value", value, "err", error.getClass().getSimpleName());
    });
  }

  static int crc(byte[] key, byte[] body, int length) {
    CRC32C crc = new CRC32C();
    crc.update(key);
    crc.update(body, 0, length);
    return (int) crc.getValue();
  }

  static String identityOf(ConsumerRecord<byte[], byte[]> record) {
    byte[] key = record.key() == null ? new byte[0] : record.key(), value = record.value();
    if (value == null || value.length < 22) return null;
    ByteBuffer body = ByteBuffer.wrap(value);
    boolean isWhole = body.getShort(16) == key.length
        && body.getInt(value.length - 4) == crc(key, value, value.length - 4);
    return isWhole ? HexFormat.of().formatHex(value, 0, 16) : null;
  }

  static void produce() throws Exception {
    try (KafkaProducer<byte[], byte[]> producer = producer(null)) {
      while (goesOn) {
        for (int left = 1 + chance.nextInt(30); left > 0; left--) send(producer, "input", null, null);
        Thread.sleep(chance.nextInt(100));
      }
    }
  }

  static KafkaConsumer<byte[], byte[]> member(String group, List<String> topics, String isolation) {
    Properties settings = settings();
    settings.put("group.id", group);
    settings.put("isolation.level", isolation);
    settings.put("enable.auto.commit", "false");
    settings.put("auto.offset.reset", "earliest");
    settings.put("session.timeout.ms", "6000");
    settings.put("heartbeat.interval.ms", "500");
    settings.put("fetch.max.wait.ms", "50");
    settings.put("partition.assignment.strategy", RangeAssignor.class.getName());
    var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    consumer.subscribe(topics, new ConsumerRebalanceListener() {
      public void onPartitionsAssigned(Collection<TopicPartition> given) {
        assignment++;
        int generation = consumer.groupMetadata().generationId();
        for (TopicPartition tp : given)
          note("assign", "ok", "tp", tp.toString(), "assign", "" + assignment, "group", group, "gen", generation);
      }
      public void onPartitionsRevoked(Collection<TopicPartition> taken) {
        for (TopicPartition tp : taken)
          note("revoke", "ok", "tp", tp.toString(), "assign", "" + assignment, "group", group);
      }
    });
    return consumer;
  }

  static ConsumerRecords<byte[], byte[]> poll(
      KafkaConsumer<byte[], byte[]> consumer, String group, String isolation, String txn) {
    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
    for (TopicPartition tp : records.partitions()) {
      StringJoiner values = new StringJoiner(",", "[", "]");
      for (var record : records.records(tp)) {
        String identity = identityOf(record);
        values.add("[" + record.offset() + "," + (identity == null ? "null" : "\"" + identity + "\"") + "]");
      }
      note("poll", "ok", "tp", tp.toString(), "iso", isolation, "values", values.toString(),
          "assign", "" + assignment, "group", group, "txn", txn);
    }
    return records;
  }

  static Map<TopicPartition, OffsetAndMetadata> ends(ConsumerRecords<byte[], byte[]> records) {
    Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
    for (TopicPartition tp : records.partitions()) {
      var list = records.records(tp);
      ends.put(tp, new OffsetAndMetadata(list.get(list.size() - 1).offset() + 1));
    }
    return ends;
  }

  static void group() {
    List<String> topics = List.of(options.get("topics").split(","));
    while (goesOn) {
      try (var consumer = member("readers", topics, "read_uncommitted")) {
        long until = System.nanoTime() + (10 + chance.nextInt(30)) * 1_000_000_000L;
        while (goesOn && System.nanoTime() < until) {
          var ends = ends(poll(consumer, "readers", "ru", null));
          if (!ends.isEmpty()) commit(consumer, ends);
        }
      }
    }
  }

  static void commit(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, OffsetAndMetadata> ends) {
    ends.forEach((tp, end) ->
        note("commit", "invoke", "tp", tp.toString(), "group", "readers", "offset", end.offset()));
    try {
      consumer.commitSync(ends, Duration.ofSeconds(10));
    } catch (KafkaException error) {
      note("commit", "info", "group", "readers", "err", error.getClass().getSimpleName());
      return;
    }
    ends.forEach((tp, end) ->
        note("commit", "ok", "tp", tp.toString(), "group", "readers", "offset", end.offset()));
  }

  static void transactions() {
    String tid = "mover-" + options.get("number");
    int life = Integer.parseInt(options.get("life")), count = 0;
    try (var producer = producer(tid); var consumer = member("movers", List.of("input"), "read_committed")) {
      producer.initTransactions();
      note("init", "ok", "tid", tid, "epoch", life);
      while (goesOn) {
        String txn = proc + "/" + ++count;
        var records = poll(consumer, "movers", "rc", txn);
        if (records.isEmpty()) continue;
        producer.beginTransaction();
        boolean commits = false;
        try {
          for (var record : records) send(producer, "output", txn, identityOf(record));
          producer.sendOffsetsToTransaction(ends(records), consumer.groupMetadata());
          commits = chance.nextInt(5) != 0;
          end(producer, tid, txn, commits, life);
        } catch (ProducerFencedException | InvalidProducerEpochException | OutOfOrderSequenceException fenced) {
          throw fenced;
        } catch (KafkaException error) {
          commits = false;
          end(producer, tid, txn, false, life);
        }
        if (!commits) goBack(consumer, records);
      }
    }
  }

  static void end(KafkaProducer<byte[], byte[]> producer, String tid, String txn, boolean commits, int life) {
    note("txn_end", "invoke", "txn", txn, "tid", tid, "commit", commits);
    try {
      if (commits) producer.commitTransaction(); else producer.abortTransaction();
    } catch (KafkaException error) {
      note("txn_end", "info", "txn", txn, "tid", tid, "commit", commits, "err", error.getClass().getSimpleName());
      throw error;
    }
    note("txn_end", "ok", "txn", txn, "tid", tid, "commit", commits, "epoch", life);
  }

  static void goBack(KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records) {
    assignment++;
    for (TopicPartition tp : records.partitions()) {
      if (!consumer.assignment().contains(tp)) continue;
      long offset = records.records(tp).get(0).offset();
      note("assign", "ok", "tp", tp.toString(), "assign", "" + assignment, "group", "movers", "offset", offset);
      consumer.seek(tp, offset);
    }
  }
}
