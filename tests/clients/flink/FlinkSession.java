// A session of Flink SQL in a local mini cluster, told what to do line by line on standard input.
//
//   set KEY=VALUE   a setting of Flink for the statements that follow
//   run STATEMENT   executes it and waits for its job, if it has one
//   rows QUERY      executes it and answers {"kind": "+I", "row": [...]} for each change, in order
//   begin INSERT    starts its job and answers {"job": NUMBER}
//   status NUMBER   answers {"status": "RUNNING"}
//   cancel NUMBER   ends the job
//
// Each answer is lines of JSON on standard output, of which the last is {"done": true} or {"error": "..."}.
// Bytes are told as text, times as ISO 8601. The one cluster outlives its jobs: a cluster for each job, as Flink's
// local mode has it, may be gone before the last rows of a query are fetched from it.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.ExceptionUtils;

public class FlinkSession {
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream ANSWERS = System.out;
    static final int SLOTS = 8;
    static final List<JobClient> JOBS = new ArrayList<>();
    static TableEnvironment tables;

    public static void main(String[] arguments) throws Exception {
        System.setOut(System.err); // Standard output is for answers alone.
        tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(cluster()).build());
        var requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = requests.readLine()) != null; ) {
            try {
                obey(line.substring(0, line.indexOf(' ')), line.substring(line.indexOf(' ') + 1));
                answer(Map.of("done", true));
            } catch (Exception error) {
                error.printStackTrace();
                answer(Map.of("error", ExceptionUtils.stringifyException(error)));
            }
        }
        System.exit(0); // Jobs that still run must not keep the process.
    }

    /** Starts the cluster; the settings by which jobs get there. */
    static Configuration cluster() throws Exception {
        var cluster = new MiniCluster(new MiniClusterConfiguration.Builder().setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(SLOTS).withRandomPorts().build());
        cluster.start();
        var keeper = new Thread(() -> keepTaskManager(cluster));
        keeper.setDaemon(true);
        keeper.start();
        var address = cluster.getRestAddress().get();
        return Configuration.fromMap(Map.of("execution.target", "remote", "rest.address", address.getHost(), "rest.port",
                String.valueOf(address.getPort()), "parallelism.default", "2", "execution.checkpointing.interval", "200ms",
                "table.local-time-zone", "UTC"));
    }

    /** Flink ends a task manager in which a sink fails once more while it is closed; a deployment starts another. */
    static void keepTaskManager(MiniCluster cluster) {
        try {
            while (true) {
                while (connected(cluster) == 0) Thread.sleep(100); // Not at once after its start.
                while (connected(cluster) > 0) Thread.sleep(200);
                System.err.println("a task manager is replaced");
                cluster.startTaskManager();
            }
        } catch (Exception error) {
            error.printStackTrace();
        }
    }

    static int connected(MiniCluster cluster) throws Exception {
        return cluster.requestClusterOverview().get().getNumTaskManagersConnected();
    }

    static void obey(String verb, String text) throws Exception {
        switch (verb) {
            case "set" -> tables.getConfig().set(text.split("=", 2)[0], text.split("=", 2)[1]);
            case "run" -> tables.executeSql(text).await();
            case "rows" -> {
                try (var rows = tables.executeSql(text).collect()) {
                    while (rows.hasNext()) answer(plain(rows.next()));
                }
            }
            case "begin" -> {
                JOBS.add(tables.executeSql(text).getJobClient().orElseThrow());
                answer(Map.of("job", JOBS.size() - 1));
            }
            case "status" -> answer(Map.of("status", job(text).getJobStatus().get().name()));
            case "cancel" -> job(text).cancel().get();
            default -> throw new IllegalArgumentException(verb);
        }
    }

    static JobClient job(String number) {
        return JOBS.get(Integer.parseInt(number));
    }

    static Map<String, Object> plain(Row row) {
        var values = new ArrayList<>();
        for (int column = 0; column < row.getArity(); column++) values.add(plain(row.getField(column)));
        return Map.of("kind", row.getKind().shortString(), "row", values);
    }

    static Object plain(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return value;
        if (value instanceof byte[] bytes) return new String(bytes, StandardCharsets.UTF_8);
        if (value instanceof Map<?, ?> map) {
            var told = new LinkedHashMap<String, Object>();
            map.forEach((key, of) -> told.put(key.toString(), plain(of)));
            return told;
        }
        return value.toString();
    }

    static void answer(Map<String, Object> answer) throws Exception {
        ANSWERS.println(JSON.writeValueAsString(answer));
        ANSWERS.flush();
    }
}
