"""Consumer groups at their edges: who is refused, who is fenced, who is dropped, what need not move."""

from adapters import SECONDS
from checks import equal, holds, wait_until
from group_checks import PARTITIONS, close, produce, read_once, shared_out
from members import MEMBERS, AiokafkaMember, KafkaPythonMember, LibrdkafkaMember


def cooperative_sticky(kind):
    """The settings that make a client of this kind give back only what another shall have."""
    if kind is LibrdkafkaMember:
        return {"partition.assignment.strategy": "cooperative-sticky"}
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    return {"partition_assignment_strategy": [CooperativeStickyAssignor]}


def offering(kind, strategy):
    """The settings of a member that offers one strategy alone."""
    if kind is LibrdkafkaMember:
        return {"partition.assignment.strategy": strategy}
    if kind is AiokafkaMember:
        from aiokafka.coordinator.assignors.range import RangePartitionAssignor
        from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    else:
        from kafka.coordinator.assignors.range import RangePartitionAssignor
        from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    assignors = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}
    return {"partition_assignment_strategy": [assignors[strategy]]}


def keeps_what_it_has(kind, writer, bootstrap):
    """A cooperative member gives back only what the newcomer gets; an eager one gives back all."""
    for name, settings, wanted in (
        ("cooperative", cooperative_sticky(kind), lambda newcomer: newcomer.assigned),
        ("eager", {}, lambda _: set(range(PARTITIONS))),
    ):
        topic = f"keeps-{kind.name}-{name}"
        writer.create_topic(topic, PARTITIONS)
        members = [kind(bootstrap, topic, f"of-{topic}", **settings)]
        try:
            shared_out(members)
            members.append(kind(bootstrap, topic, f"of-{topic}", **settings))
            shared_out(members, 3)
            read_once(members, produce(writer, topic, "both"), f"read by two {name} members")
            equal(members[0].given_back, wanted(members[1]), f"given back by the {name} member")
        finally:
            close(members)


def of_three_clients(writer, bootstrap):
    """One member of each client: they agree on `range`, whoever of them leads."""
    topic = "group-of-three-clients"
    writer.create_topic(topic, PARTITIONS)
    members = [kind(bootstrap, topic, f"of-{topic}", **offering(kind, "range")) for kind in MEMBERS]
    try:
        shared_out(members, 2)
        read_once(members, produce(writer, topic, "three"), "read by three")
        for left in (2, 1):  # each time another client's member may lead
            members.pop(0).close()
            shared_out(members)
            read_once(members, produce(writer, topic, f"left-{left}"), f"read by {left}")
    finally:
        close(members)


def told(member, *names):
    """Waits until the member has ended with an error that bears one of the names."""
    error = wait_until(lambda: member.error, SECONDS, "the member is told an error")
    text = f"{type(error).__name__} {error}"
    holds(any(name in text for name in names), f"wanted one of {names}, got {text}")


def refused(kind, writer, bootstrap):
    """No strategy in common, and a session shorter than allowed; the group itself goes on."""
    topic = f"refused-{kind.name}"
    writer.create_topic(topic, PARTITIONS)
    member = kind(bootstrap, topic, f"of-{topic}", **offering(kind, "range"))
    try:
        shared_out([member])
        before = member.assignments
        other = kind(bootstrap, topic, f"of-{topic}", **offering(kind, "roundrobin"))
        told(other, "INCONSISTENT_GROUP_PROTOCOL", "InconsistentGroupProtocol")
        session, heartbeat = (
            ("session.timeout.ms", "heartbeat.interval.ms") if kind is LibrdkafkaMember
            else ("session_timeout_ms", "heartbeat_interval_ms")
        )  # fmt: skip
        hasty = kind(bootstrap, topic, f"of-{topic}", **{session: 3000, heartbeat: 300})
        told(hasty, "INVALID_SESSION_TIMEOUT", "InvalidSessionTimeout")
        read_once([member], produce(writer, topic, "alone"), "read by the member that was there")
        equal(member.assignments, before, "times it was given partitions")
    finally:
        close([member])


def fenced(kind, writer, bootstrap):
    """A second member with the same instance id takes the first one's place, and the first is told."""
    topic = f"fenced-{kind.name}"
    writer.create_topic(topic, PARTITIONS)
    old = kind(bootstrap, topic, f"of-{topic}", instance="the-only")
    try:
        shared_out([old])
        new = kind(bootstrap, topic, f"of-{topic}", instance="the-only")
        try:
            told(old, "FencedInstanceId", "fenced by other consumer")
            shared_out([new])
            values = produce(writer, topic, "new")
            wait_until(
                lambda: {value for _, _, value in new.seen} >= values, SECONDS, "the new member reads all"
            )
            equal({value for _, _, value in old.seen} & values, set(), "read by the member that was fenced")
        finally:
            new.close()
    finally:
        old.stopping = True


def dropped(kind, writer, bootstrap):
    """A static member that goes says nothing: its partitions move when its session has run out."""
    topic = f"dropped-{kind.name}"
    writer.create_topic(topic, PARTITIONS)
    members = [kind(bootstrap, topic, f"of-{topic}", instance=f"{topic}-{n}") for n in range(2)]
    try:
        shared_out(members, 3)
        read_once(members, produce(writer, topic, "both"), "read by both")
        members.pop().close()
        values = produce(writer, topic, "one")
        equal(len(members[0].assigned), 3, "partitions of the other just after")
        shared_out(members, PARTITIONS)
        read_once(members, values, "read by the one that stayed")
    finally:
        close(members)


def outlives_a_restart(kind, weir, writer):
    """The broker stops and starts under a group of two: no rebalance, nothing is read twice or lost."""
    topic = f"restart-{kind.name}"
    writer.create_topic(topic, PARTITIONS)
    members = [kind(weir.bootstrap, topic, f"of-{topic}") for _ in range(2)]
    try:
        shared_out(members, 3)
        read_once(members, produce(writer, topic, "before"), "read before")
        noticed = [member.assignments for member in members]
        equal(weir.stop(), 0, "exit code")
        weir.start()
        read_once(members, produce(writer, topic, "after"), "read after")
        equal([member.assignments for member in members], noticed, "times they were given partitions")
    finally:
        close(members)


def run_group_edge_checks(checks, weir, adapters):
    writer, bootstrap = adapters[0], adapters[0].bootstrap
    checks.run("group/three-clients", of_three_clients, writer, bootstrap)
    for kind in (LibrdkafkaMember, KafkaPythonMember):
        checks.run(f"group/{kind.name}/keeps-what-it-has", keeps_what_it_has, kind, writer, bootstrap)
        # aiokafka does not know the error FENCED_INSTANCE_ID.
        checks.run(f"group/{kind.name}/fenced", fenced, kind, writer, bootstrap)
    for kind in MEMBERS:
        checks.run(f"group/{kind.name}/refused", refused, kind, writer, bootstrap)
        checks.run(f"group/{kind.name}/dropped", dropped, kind, writer, bootstrap)
        if weir:
            checks.run(f"group/{kind.name}/restarted", outlives_a_restart, kind, weir, writer)
