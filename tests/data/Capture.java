// Runs one Debezium engine against PostgreSQL and writes what it emits, unchanged, to files.
//
// usage: java -cp <class path> Capture.java <engine.properties> <output directory>
//
// One file per topic, `<topic>.jsonl.gz`, a line per change record in the order of capture:
//   {"topic":"..","partition":null,"key":"<json>"|null,"value":"<json>"|null,"timestamp":<ms>}
// `key` and `value` are the very strings that Debezium's JSON converter made; a tombstone has the
// value null. `timestamp` is when the record was taken over, as a Kafka producer would stamp it.
//
// `ready` appears in the output directory once the initial snapshot is complete. The engine stops
// by itself at the first record that was inserted into the table `capture_end`.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicReference;
import java.util.zip.GZIPOutputStream;

public class Capture {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** A gzip stream that spends time on size. */
    private static final class SmallGzip extends GZIPOutputStream {
        SmallGzip(OutputStream out) throws IOException {
            super(out, 1 << 16);
            def.setLevel(9);
        }
    }

    private final Path directory;
    private final Map<String, BufferedWriter> files = new HashMap<>();
    private final Map<String, Long> counts = new HashMap<>();
    private final CountDownLatch ended = new CountDownLatch(1);
    private final AtomicReference<String> failure = new AtomicReference<>();

    private Capture(Path directory) {
        this.directory = directory;
    }

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        try (var reader = Files.newBufferedReader(Path.of(args[0]))) {
            settings.load(reader);
        }
        Path directory = Path.of(args[1]);
        Files.createDirectories(directory);
        new Capture(directory).run(settings);
    }

    private void run(Properties settings) throws Exception {
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(settings)
                .notifying(this::take)
                .using((success, message, error) -> {
                    if (!success) {
                        failure.set(message + ": " + error);
                        ended.countDown();
                    }
                })
                .build();
        ExecutorService thread = Executors.newSingleThreadExecutor();
        thread.execute(engine);
        ended.await();
        engine.close();
        thread.shutdown();
        for (BufferedWriter file : files.values()) {
            file.close();
        }
        if (failure.get() != null) {
            System.err.println("capture failed: " + failure.get());
            System.exit(1);
        }
        counts.forEach((topic, count) -> System.out.println(topic + " " + count));
        System.exit(0);
    }

    private void take(
            List<ChangeEvent<String, String>> records,
            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
            throws InterruptedException {
        try {
            for (ChangeEvent<String, String> record : records) {
                takeOne(record);
                committer.markProcessed(record);
            }
            committer.markBatchFinished();
        } catch (IOException error) {
            failure.set(error.toString());
            ended.countDown();
        }
    }

    private void takeOne(ChangeEvent<String, String> record) throws IOException {
        String topic = record.destination();
        String value = record.value();
        // The snapshot's last record says so in its source block.
        if (value != null && value.contains("\"snapshot\":\"last\"")) {
            Files.writeString(directory.resolve("ready"), topic);
        }
        if (topic.endsWith(".capture_end")) {
            if (value != null && value.contains("\"op\":\"c\"")) {
                ended.countDown();
            }
            return;
        }
        BufferedWriter file = files.get(topic);
        if (file == null) {
            OutputStream out = Files.newOutputStream(directory.resolve(topic + ".jsonl.gz"));
            file = new BufferedWriter(
                    new OutputStreamWriter(new SmallGzip(out), StandardCharsets.UTF_8), 1 << 16);
            files.put(topic, file);
        }
        ObjectNode line = JSON.createObjectNode();
        line.put("topic", topic);
        line.putNull("partition");
        line.put("key", record.key());
        line.put("value", value);
        line.put("timestamp", System.currentTimeMillis());
        file.write(JSON.writeValueAsString(line));
        file.write('\n');
        counts.merge(topic, 1L, Long::sum);
    }
}
