// The plot (../README.md) by Java's kafka-clients. BOOTSTRAP, VERSION and ONLY come by the environment.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Plot {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    static final String VERSION = System.getenv("VERSION");
    static final String PREFIX = "java-" + VERSION + "-" + ProcessHandle.current().pid() + "-";
    static final long BASE_MS = System.currentTimeMillis() / 1000 * 1000 - 600_000;
    static Admin admin;

    interface Feature {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP));
        Map<String, Feature> plot = new java.util.LinkedHashMap<>();
        plot.put("admin", Plot::administered);
        plot.put("codecs", Plot::codecs);
        plot.put("records", Plot::records);
        plot.put("timestamp", Plot::timestamp);
        plot.put("group", () -> group("eager", Map.of("partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.RangeAssignor")));
        plot.put("group-cooperative", () -> group("cooperative", Map.of("partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.CooperativeStickyAssignor")));
        if (!VERSION.startsWith("3.")) {
            plot.put("group-848", () -> group("new", Map.of("group.protocol", "consumer")));
        }
        plot.put("resume", Plot::resume);
        plot.put("transaction", Plot::transaction);
        plot.put("errors", Plot::errors);
        String only = System.getenv().getOrDefault("ONLY", "");
        for (var step : plot.entrySet()) {
            String name = " kafka-clients " + VERSION + " " + step.getKey();
            if (!step.getKey().contains(only)) continue;
            try {
                step.getValue().run();
                System.out.println("ok" + name);
            } catch (Throwable error) {
                error.printStackTrace();
                System.out.println("FAIL" + name + ": " + error.toString().replace('\n', ' '));
            }
        }
        admin.close(Duration.ofSeconds(5));
        System.exit(0); // A client that hangs in its closing must not hold the suite.
    }

    // ---- The features ----

    static void administered() throws Exception {
        String topic = create("admin", 3, Map.of("retention.ms", "7200000"));
        equal(admin.listTopics().names().get().contains(topic), true, "listed");
        equal(config(topic, "retention.ms"), "7200000", "retention.ms");
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var set = new AlterConfigOp(new ConfigEntry("retention.ms", "8000000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
        until(15, () -> config(topic, "retention.ms").equals("8000000"), "retention.ms altered");
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
        var told = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        equal(told.partitions().size(), 4, "partitions");
        equal(told.partitions().get(0).leader().id(), admin.describeCluster().controller().get().id(), "leader");
        write(topic, 0, plain(10), Map.of());
        var place = new TopicPartition(topic, 0);
        var low = admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(place).get();
        equal(low.lowWatermark(), 4L, "low watermark");
        equal(admin.listOffsets(Map.of(place, OffsetSpec.earliest())).all().get().get(place).offset(), 4L, "earliest");
        equal(admin.listOffsets(Map.of(place, OffsetSpec.latest())).all().get().get(place).offset(), 10L, "latest");
        equal(admin.describeLogDirs(List.of(told.partitions().get(0).leader().id())).allDescriptions().get().isEmpty(),
                false, "log directories");
        equal(admin.describeProducers(List.of(place)).all().get().containsKey(place), true, "producers told");
        admin.deleteTopics(List.of(topic)).all().get();
        until(15, () -> !names().contains(topic), "the topic is gone");
    }

    static void codecs() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = create("codec-" + codec, 1, Map.of());
            var wanted = plain(300);
            write(topic, 0, wanted, Map.of("compression.type", codec));
            same(read(topic, 0, 0, Map.of()), wanted, codec);
        }
    }

    static void records() throws Exception {
        String topic = create("records", 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> wanted = new ArrayList<>();
        byte[][] shapes = {null, new byte[0], bytes("clé-鍵"), new byte[5000]};
        for (byte[] key : shapes) {
            for (byte[] value : shapes) {
                wanted.add(new ProducerRecord<>(topic, 0, BASE_MS + wanted.size(), key, value, List.of(
                        new RecordHeader("h", bytes("1")), new RecordHeader("h", null),
                        new RecordHeader("ünï", new byte[0]))));
                wanted.add(new ProducerRecord<>(topic, 0, BASE_MS + wanted.size(), key, value));
            }
        }
        write(topic, 0, wanted, Map.of());
        same(read(topic, 0, 0, Map.of()), wanted, "records");
        same(read(topic, 0, 20, Map.of()), wanted.subList(20, wanted.size()), "records from 20");
    }

    static void timestamp() throws Exception {
        String topic = create("timestamp", 1, Map.of());
        write(topic, 0, plain(500), Map.of("batch.size", "1000"));
        var place = new TopicPartition(topic, 0);
        try (var consumer = consumer(Map.of())) {
            equal(consumer.offsetsForTimes(Map.of(place, BASE_MS + 123 * 10 - 5)).get(place).offset(), 123L, "offset");
            equal(consumer.offsetsForTimes(Map.of(place, BASE_MS + 3_600_000)).get(place), null, "past the end");
        }
        same(read(topic, 0, 123, Map.of()), plain(500).subList(123, 500), "read from there");
        var newest = admin.listOffsets(Map.of(place, OffsetSpec.maxTimestamp())).all().get().get(place);
        equal(newest.offset(), 499L, "offset of the largest timestamp");
    }

    static void group(String kind, Map<String, Object> settings) throws Exception {
        String topic = create("group-" + kind, 6, Map.of());
        String group = PREFIX + kind;
        List<Member> members = new ArrayList<>();
        try {
            members.add(new Member(group, topic, settings));
            balanced(members, 6);
            members.add(new Member(group, topic, settings));
            members.add(new Member(group, topic, settings));
            balanced(members, 2, 2, 2);
            Set<String> seen = Collections.synchronizedSet(new HashSet<>());
            members.forEach(member -> member.seen = seen);
            spread(topic, "three", 60);
            until(30, () -> seen.size() >= 60, () -> "60 records read by three, not " + seen.size());
            members.remove(2).close();
            balanced(members, 3, 3);
            spread(topic, "two", 60);
            until(30, () -> seen.size() >= 120, () -> "120 records read by two, not " + seen.size());
            var told = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            equal(told.members().size(), 2, "members told");
            members.remove(1).close();
            balanced(members, 6);
            spread(topic, "one", 60);
            until(30, () -> seen.size() >= 180, () -> "180 records read by one, not " + seen.size());
        } finally {
            for (Member member : members) member.close();
        }
        until(15, () -> committed(group) == 180, () -> "180 committed, not " + committed(group));
        equal(admin.listConsumerGroups().all().get().stream().anyMatch(one -> one.groupId().equals(group)), true, "listed");
        until(15, () -> deleted(group), "the empty group is deleted");
    }

    static void resume() throws Exception {
        String topic = create("resume", 1, Map.of());
        String group = PREFIX + "resume";
        write(topic, 0, plain(200), Map.of());
        try (var consumer = consumer(Map.of("group.id", group, "auto.offset.reset", "earliest", "max.poll.records", 50))) {
            consumer.subscribe(List.of(topic));
            int got = 0;
            while (got < 100) got += consumer.poll(Duration.ofSeconds(1)).count();
            consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(100, "here")));
        }
        try (var consumer = consumer(Map.of("group.id", group, "auto.offset.reset", "none"))) {
            consumer.subscribe(List.of(topic));
            List<ConsumerRecord<byte[], byte[]>> got = new ArrayList<>();
            until(30, () -> {
                consumer.poll(Duration.ofMillis(200)).forEach(got::add);
                return got.size() >= 100;
            }, () -> "100 records after the commit, not " + got.size());
            same(got, plain(200).subList(100, 200), "resumed");
            var place = new TopicPartition(topic, 0);
            equal(consumer.committed(Set.of(place)).get(place).metadata(), "here", "metadata");
        }
    }

    static void transaction() throws Exception {
        String topic = create("transaction", 1, Map.of());
        String group = PREFIX + "transaction";
        Map<String, Object> settings = Map.of("transactional.id", PREFIX + "id");
        var old = producer(settings);
        old.initTransactions();
        boolean[] kept = {true, false, true};
        List<ProducerRecord<byte[], byte[]>> wanted = new ArrayList<>();
        for (int n = 0; n < kept.length; n++) {
            old.beginTransaction();
            for (var record : plain(10)) {
                var one = new ProducerRecord<>(topic, 0, record.timestamp(), record.key(), bytes("t" + n));
                old.send(one);
                if (kept[n]) wanted.add(one);
            }
            if (kept[n]) {
                var place = Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(n + 40));
                old.sendOffsetsToTransaction(place, new org.apache.kafka.clients.consumer.ConsumerGroupMetadata(group));
                old.commitTransaction();
            } else {
                old.flush();
                old.abortTransaction();
            }
        }
        // 3 x 10 records and a marker after each ten.
        same(read(topic, 0, 0, Map.of("isolation.level", "read_committed")), wanted, "committed");
        equal(read(topic, 0, 0, Map.of()).size(), 30, "records when uncommitted ones are read too");
        equal(committed(group), 42L, "offset committed with the transaction");
        // An open transaction holds the last stable offset back.
        old.beginTransaction();
        old.send(new ProducerRecord<>(topic, 0, null, bytes("open"))).get();
        equal(read(topic, 0, 0, Map.of("isolation.level", "read_committed")).size(), 20, "records while one is open");
        // A newer producer of the id aborts it and fences the old one.
        try (var newer = producer(settings)) {
            newer.initTransactions();
            newer.beginTransaction();
            newer.send(new ProducerRecord<>(topic, 0, BASE_MS, null, bytes("newer")));
            newer.commitTransaction();
            fails(ProducerFencedException.class, () -> {
                try {
                    old.commitTransaction();
                } catch (org.apache.kafka.common.errors.InvalidProducerEpochException error) {
                    throw new ProducerFencedException(error.getMessage());
                }
            });
        }
        old.close(Duration.ofSeconds(2));
        equal(read(topic, 0, 0, Map.of("isolation.level", "read_committed")).size(), 21, "committed records at last");
        equal(admin.describeTransactions(List.of(PREFIX + "id")).all().get().get(PREFIX + "id").state().toString(),
                "CompleteCommit", "state");
    }

    static void errors() throws Exception {
        String topic = create("errors", 1, Map.of("max.message.bytes", "10000"));
        fails(RecordTooLargeException.class, () -> write(topic, 0,
                List.of(new ProducerRecord<>(topic, 0, null, new byte[50_000])), Map.of()));
        fails(TopicExistsException.class, () -> create("errors", 1, Map.of()));
        fails(InvalidTopicException.class, () -> create("no good name!", 1, Map.of()));
        fails(UnknownTopicOrPartitionException.class,
                () -> admin.describeTopics(List.of(PREFIX + "missing")).allTopicNames().get());
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(PREFIX + "missing")).all().get());
    }

    // ---- What they are told with ----

    /** A consumer of a group on a thread of its own; it commits whatever it has read. */
    static final class Member extends Thread {
        final KafkaConsumer<byte[], byte[]> consumer;
        volatile int assigned = 0;
        volatile Set<String> seen = new HashSet<>();
        volatile boolean closing = false;

        Member(String group, String topic, Map<String, Object> settings) {
            Map<String, Object> all = new HashMap<>(settings);
            all.put("group.id", group);
            all.put("auto.offset.reset", "earliest");
            if (!all.containsKey("group.protocol")) all.put("heartbeat.interval.ms", 500);
            consumer = consumer(all);
            consumer.subscribe(List.of(topic));
            start();
        }

        @Override
        public void run() {
            try (consumer) {
                while (!closing) {
                    for (var record : consumer.poll(Duration.ofMillis(100))) {
                        seen.add(new String(record.value(), StandardCharsets.UTF_8));
                    }
                    assigned = consumer.assignment().size();
                    try {
                        consumer.commitSync();
                    } catch (org.apache.kafka.clients.consumer.RetriableCommitFailedException
                            | org.apache.kafka.clients.consumer.CommitFailedException
                            | org.apache.kafka.common.errors.RebalanceInProgressException error) {
                        // The next owner reads them again.
                    }
                }
            } catch (WakeupException woken) {
                // Closed.
            }
        }

        void close() throws InterruptedException {
            closing = true;
            join(30_000);
        }
    }

    static void balanced(List<Member> members, Integer... wanted) throws Exception {
        until(60, () -> members.stream().map(member -> member.assigned).toList().equals(List.of(wanted)),
                () -> "partitions " + List.of(wanted) + ", not " + members.stream().map(one -> one.assigned).toList());
    }

    static void spread(String topic, String word, int count) throws Exception {
        try (var producer = producer(Map.of())) {
            for (int n = 0; n < count; n++) {
                producer.send(new ProducerRecord<>(topic, n % 6, null, bytes(word + n)));
            }
        }
    }

    static long committed(String group) {
        try {
            return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values().stream()
                    .mapToLong(OffsetAndMetadata::offset).sum();
        } catch (Exception error) {
            throw new RuntimeException(error);
        }
    }

    static boolean deleted(String group) {
        try {
            admin.deleteConsumerGroups(List.of(group)).all().get();
            return true;
        } catch (Exception error) {
            return false;
        }
    }

    static Set<String> names() {
        try {
            return admin.listTopics().names().get();
        } catch (Exception error) {
            throw new RuntimeException(error);
        }
    }

    static String config(String topic, String name) {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try {
            return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name).value();
        } catch (Exception error) {
            throw new RuntimeException(error);
        }
    }

    static String create(String name, int partitions, Map<String, String> configs) throws Exception {
        String topic = PREFIX + name;
        admin.createTopics(List.of(new NewTopic(topic, Optional.of(partitions), Optional.of((short) 1)).configs(configs)))
                .all().get();
        return topic;
    }

    static List<ProducerRecord<byte[], byte[]>> plain(int count) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            records.add(new ProducerRecord<>("any", 0, BASE_MS + n * 10, bytes("k" + n % 7), bytes("v" + n + " same again".repeat(n % 50))));
        }
        return records;
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", BOOTSTRAP);
        all.put("acks", "all");
        all.put("enable.idempotence", true);
        all.put("max.block.ms", 30_000);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", BOOTSTRAP);
        all.put("enable.auto.commit", false);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static void write(String topic, int partition, List<ProducerRecord<byte[], byte[]>> records, Map<String, Object> settings)
            throws Exception {
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        try (var producer = producer(settings)) {
            for (var r : records) {
                answers.add(producer.send(new ProducerRecord<>(topic, partition, r.timestamp(), r.key(), r.value(), r.headers())));
            }
        }
        long last = -1;
        for (var answer : answers) {
            long offset = answer.get().offset();
            equal(offset > last, true, "rising offsets");
            last = offset;
        }
    }

    static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, long start, Map<String, Object> settings) {
        var place = new TopicPartition(topic, partition);
        List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
        try (var consumer = consumer(settings)) {
            consumer.assign(List.of(place));
            consumer.seek(place, start);
            long end = consumer.endOffsets(List.of(place)).get(place);
            long deadline = System.currentTimeMillis() + 30_000;
            while (consumer.position(place) < end) {
                if (System.currentTimeMillis() > deadline) throw new AssertionError("read to " + consumer.position(place) + " of " + end);
                consumer.poll(Duration.ofMillis(200)).forEach(found::add);
            }
        }
        return found;
    }

    static void same(List<ConsumerRecord<byte[], byte[]>> got, List<ProducerRecord<byte[], byte[]>> wanted, String what) {
        equal(got.size(), wanted.size(), what + ": number of records");
        for (int n = 0; n < got.size(); n++) {
            var have = got.get(n);
            var want = wanted.get(n);
            String at = what + " at " + have.offset() + ": ";
            equal(Arrays.equals(have.key(), want.key()), true, at + "key");
            equal(Arrays.equals(have.value(), want.value()), true, at + "value");
            equal(have.headers(), want.headers(), at + "headers");
            if (want.timestamp() != null) equal(have.timestamp(), want.timestamp(), at + "timestamp");
        }
    }

    static void fails(Class<?> wanted, Feature call) throws Exception {
        try {
            call.run();
        } catch (ExecutionException error) {
            if (wanted.isInstance(error.getCause())) return;
            throw error;
        } catch (Exception error) {
            if (wanted.isInstance(error)) return;
            throw error;
        }
        throw new AssertionError("no " + wanted.getSimpleName());
    }

    static void equal(Object got, Object wanted, String what) {
        if (!java.util.Objects.equals(got, wanted)) throw new AssertionError(what + ": wanted " + wanted + ", got " + got);
    }

    static void until(int seconds, BooleanSupplier condition, String what) throws Exception {
        until(seconds, condition, () -> what);
    }

    static void until(int seconds, BooleanSupplier condition, java.util.function.Supplier<String> what) throws Exception {
        long deadline = System.currentTimeMillis() + seconds * 1000L;
        while (!condition.getAsBoolean()) {
            if (System.currentTimeMillis() > deadline) throw new AssertionError("not within " + seconds + " s: " + what.get());
            Thread.sleep(20);
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
