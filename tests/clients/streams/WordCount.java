// A stateful word count by Kafka Streams, exactly once (v2), with its feeder and its judge.
//
//   java WordCount feed COUNT RATE       makes the topics, writes COUNT words, RATE a second
//   java WordCount count STATE_FOLDER    counts until it is killed
//   java WordCount check COUNT SECONDS   waits for the counts of COUNT words; judges every one ever committed
//
// Each word taken in gives one count out. So the committed counts of a word must be 1, 2, 3 … without a
// gap or a repetition, whatever was killed meanwhile.

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Produced;

public class WordCount {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    static final int PARTITIONS = 4;

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "feed" -> feed(Integer.parseInt(args[1]), Integer.parseInt(args[2]));
            case "count" -> count(args[1]);
            default -> System.exit(check(Integer.parseInt(args[1]), Integer.parseInt(args[2])));
        }
    }

    static String word(int n) {
        return "w" + (long) n * n % 97;
    }

    static void feed(int count, int rate) throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP))) {
            var topic = List.of(new NewTopic("words", Optional.of(PARTITIONS), Optional.of((short) 1)),
                    new NewTopic("counts", Optional.of(PARTITIONS), Optional.of((short) 1)));
            admin.createTopics(topic).all().get();
        }
        System.out.println("topics made");
        Map<String, Object> settings = Map.of("bootstrap.servers", BOOTSTRAP, "acks", "all", "delivery.timeout.ms",
                600_000, "request.timeout.ms", 5_000, "reconnect.backoff.max.ms", 500);
        var failed = new java.util.concurrent.atomic.AtomicReference<Exception>();
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            long began = System.nanoTime();
            for (int n = 0; n < count && failed.get() == null; n++) {
                producer.send(new ProducerRecord<>("words", word(n), "x"), (told, error) -> {
                    if (error != null) failed.set(error);
                });
                long early = began + n * 1_000_000_000L / rate - System.nanoTime();
                if (early > 0) Thread.sleep(early / 1_000_000);
            }
        }
        if (failed.get() != null) throw failed.get();
    }

    static void count(String folder) {
        var settings = new Properties();
        settings.putAll(Map.of("application.id", "word-count", "bootstrap.servers", BOOTSTRAP, "state.dir", folder,
                "processing.guarantee", "exactly_once_v2", "num.stream.threads", 2, "commit.interval.ms", 200,
                "statestore.cache.max.bytes", 0, "replication.factor", 1));
        settings.putAll(Map.of("consumer.session.timeout.ms", 6_000, "consumer.heartbeat.interval.ms", 500,
                "consumer.auto.offset.reset", "earliest", "producer.transaction.timeout.ms", 8_000,
                "producer.delivery.timeout.ms", 8_000, "producer.request.timeout.ms", 4_000,
                "producer.linger.ms", 0, "reconnect.backoff.max.ms", 500));
        var builder = new StreamsBuilder();
        builder.stream("words", Consumed.with(Serdes.String(), Serdes.String()))
                .groupByKey(Grouped.with(Serdes.String(), Serdes.String())).count().toStream()
                .to("counts", Produced.with(Serdes.String(), Serdes.Long()));
        var streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            System.err.println("a thread is replaced: " + error);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
    }

    static int check(int count, int seconds) {
        Map<String, Long> wanted = new HashMap<>();
        for (int n = 0; n < count; n++) wanted.merge(word(n), 1L, Long::sum);
        Map<String, Object> settings = Map.of("bootstrap.servers", BOOTSTRAP, "isolation.level", "read_committed");
        Map<String, Long> got = new HashMap<>();
        long found = 0;
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new LongDeserializer())) {
            var places = IntStream.range(0, PARTITIONS).mapToObj(n -> new TopicPartition("counts", n)).toList();
            consumer.assign(places);
            consumer.seekToBeginning(places);
            long deadline = System.currentTimeMillis() + seconds * 1000L;
            while (found < count && System.currentTimeMillis() < deadline) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    long before = got.getOrDefault(record.key(), 0L);
                    if (record.value() != before + 1) {
                        System.out.println(record.key() + " goes from " + before + " to " + record.value() + " at "
                                + record.partition() + ":" + record.offset());
                        return 1;
                    }
                    got.put(record.key(), record.value());
                    found++;
                }
            }
            // Whatever else is committed would be too much.
            for (var record : consumer.poll(Duration.ofSeconds(3))) {
                System.out.println("one too many: " + record.key() + " " + record.value());
                return 1;
            }
        }
        System.out.println(found + " counts of " + count + (got.equals(wanted) ? ", as the model says" : ", unlike the model"));
        return got.equals(wanted) ? 0 : 1;
    }
}
