// Two consumers of a share group work off one partition while the broker is killed in between. Says "RESTART" when
// it wants that, and reads a line when it is done. Ends with 0 and a line of figures, or with 1 and what is wrong.
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public class ShareCheck {
    static final int RECORDS = 1000, POISON = 3, SLOW = 500, DELIVERIES_MAX = 5;
    static final String GROUP = "shared-work";
    static final TopicPartition PLACE = new TopicPartition("shared", 0);

    // Of each record: deliveries, whether an accept was sent, whether one is known to have been taken.
    static final AtomicIntegerArray deliveries = new AtomicIntegerArray(RECORDS);
    static final Set<Integer> sent = ConcurrentHashMap.newKeySet(), taken = ConcurrentHashMap.newKeySet();
    static final Set<Integer> rejected = ConcurrentHashMap.newKeySet();
    static final Set<String> workers = ConcurrentHashMap.newKeySet();
    static final AtomicInteger expiredLocks = new AtomicInteger(), redelivered = new AtomicInteger(), mostCounted = new AtomicInteger();
    static final Queue<String> wrong = new ConcurrentLinkedQueue<>();
    static final CountDownLatch joined = new CountDownLatch(2);
    static volatile boolean isOver = false;

    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0];
        Map<String, Object> common = Map.of("bootstrap.servers", servers);
        try (Admin admin = Admin.create(common)) {
            admin.createTopics(List.of(new NewTopic("shared", 1, (short) 1))).all().get();
            Thread ada = work("ada", servers), bob = work("bob", servers);
            joined.await();
            awaitMembers(admin);
            produce(servers);
            await("half is done", () -> taken.size() >= RECORDS / 2);
            System.out.println("RESTART");
            System.out.flush();
            System.in.read();
            await("all is done", () -> startOffset(admin) == RECORDS);
            isOver = true;
            ada.join();
            bob.join();
            String state = admin.describeShareGroups(List.of(GROUP)).all().get().get(GROUP).groupState().toString();
            if (!state.equals("Empty")) wrong.add("the group is " + state + " after its members left");
        }
        check();
        System.out.printf("%d records, %d accepted, %d rejected, %d redelivered, %d locks expired, at most delivery %d, by %s%n",
            RECORDS, taken.size(), rejected.size(), redelivered.get(), expiredLocks.get(), mostCounted.get(), new TreeSet<>(workers));
        wrong.forEach(System.out::println);
        System.exit(wrong.isEmpty() ? 0 : 1);
    }

    static void check() {
        for (int number = 0; number < RECORDS; number++) {
            boolean isRejected = number % 10 == 8;
            if (isRejected && !rejected.contains(number)) wrong.add(number + " was never rejected");
            if (!isRejected && number != POISON && !sent.contains(number)) wrong.add(number + " was never accepted");
            if (number % 10 == 7 && deliveries.get(number) < 2) wrong.add(number + " was released and came once only");
        }
        if (deliveries.get(POISON) != DELIVERIES_MAX) wrong.add("the poison came " + deliveries.get(POISON) + " times");
        if (mostCounted.get() > DELIVERIES_MAX) wrong.add("a record came with delivery count " + mostCounted.get());
        if (expiredLocks.get() == 0) wrong.add("no lock expired");
        if (workers.size() != 2) wrong.add("only " + workers + " got records");
    }

    static Thread work(String name, String servers) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", servers, "group.id", GROUP,
            "client.id", name, "share.acknowledgement.mode", "explicit", "max.poll.records", 20));
        Thread thread = new Thread(() -> {
            try (var consumer = new KafkaShareConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of("shared"));
                for (int polls = 0; !isOver; polls++) {
                    if (polls == 20) joined.countDown();
                    poll(name, consumer);
                }
            } catch (Exception error) {
                wrong.add(name + ": " + error);
                error.printStackTrace(System.out);
                isOver = true;
            }
        });
        thread.start();
        return thread;
    }

    static void poll(String name, KafkaShareConsumer<String, String> consumer) throws Exception {
        List<Integer> accepted = new ArrayList<>();
        boolean isSlow = false;
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
            int number = Integer.parseInt(record.value()), count = record.deliveryCount().orElse((short) 0);
            if (record.offset() != number) wrong.add(number + " has the offset " + record.offset());
            if (taken.contains(number)) wrong.add(number + " was accepted and came again");
            deliveries.incrementAndGet(number);
            mostCounted.accumulateAndGet(count, Math::max);
            if (count > 1) redelivered.incrementAndGet();
            workers.add(name);
            isSlow |= number == SLOW && count == 1;
            if (number == POISON || (number % 10 == 7 && count < 3)) {
                consumer.acknowledge(record, AcknowledgeType.RELEASE);
            } else if (number % 10 == 8) {
                consumer.acknowledge(record, AcknowledgeType.REJECT);
                rejected.add(number);
            } else {
                consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                accepted.add(number);
                sent.add(number);
            }
        }
        if (isSlow) Thread.sleep(4000);
        Map<TopicIdPartition, Optional<KafkaException>> results;
        try {
            results = consumer.commitSync(Duration.ofSeconds(10));
        } catch (KafkaException error) {
            return;
        }
        for (var result : results.values()) {
            if (result.isEmpty()) taken.addAll(accepted);
            if (result.isPresent() && result.get() instanceof InvalidRecordStateException) expiredLocks.incrementAndGet();
        }
    }

    static void produce(String servers) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", servers, "linger.ms", 0, "batch.size", 400);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int number = 0; number < RECORDS; number++) {
                producer.send(new ProducerRecord<>("shared", 0, null, Integer.toString(number)));
            }
            producer.flush();
        }
    }

    static void awaitMembers(Admin admin) throws Exception {
        await("both are members", () -> {
            var group = admin.describeShareGroups(List.of(GROUP)).all().get().get(GROUP);
            return group.members().size() == 2
                && group.members().stream().allMatch(member -> member.assignment().topicPartitions().contains(PLACE));
        });
    }

    // The answer's methods have other names from one version of the client to the next.
    static long startOffset(Admin admin) throws Exception {
        var spec = Map.of(GROUP, new ListShareGroupOffsetsSpec().topicPartitions(List.of(PLACE)));
        Object future = named(admin.listShareGroupOffsets(spec), "partitionsTo", GROUP);
        Object offset = ((Map<?, ?>) ((KafkaFuture<?>) future).get()).get(PLACE);
        return offset == null ? -1 : (Long) named(offset, offset instanceof OffsetAndMetadata ? "offset" : "startOffset");
    }

    static Object named(Object of, String name, Object... arguments) throws Exception {
        for (var method : of.getClass().getMethods()) {
            if (method.getName().startsWith(name) && method.getParameterCount() == arguments.length) return method.invoke(of, arguments);
        }
        throw new IllegalStateException(of.getClass() + " has no " + name);
    }

    static void await(String what, Callable<Boolean> isSo) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (System.nanoTime() < end && !isOver) {
            try {
                if (isSo.call()) return;
            } catch (ExecutionException error) {
                if (!(error.getCause() instanceof RetriableException)) throw error;
            }
            Thread.sleep(100);
        }
        wrong.add("waited for: " + what);
        isOver = true;
    }
}
