package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct {
	bootstrap string
	admin     *kadm.Client
}

func newFranz(bootstrap string) Client {
	f := &franz{bootstrap: bootstrap}
	client, err := f.client()
	if err != nil {
		panic(err)
	}
	f.admin = kadm.NewClient(client)
	return f
}

func (f *franz) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(f.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))...)
}

func (f *franz) Module() string { return "github.com/twmb/franz-go" }

func (f *franz) TellsNull() bool { return true }

func (f *franz) Create(topic string, partitions int, configs map[string]string) error {
	all := map[string]*string{}
	for name, value := range configs {
		all[name] = &value
	}
	_, err := f.admin.CreateTopic(patience(), int32(partitions), 1, all, topic)
	return err
}

func (f *franz) Delete(topic string) error {
	_, err := f.admin.DeleteTopic(patience(), topic)
	return err
}

func (f *franz) Partitions(topic string) (int, error) {
	topics, err := f.admin.ListTopics(patience(), topic)
	if err != nil {
		return 0, err
	}
	if detail, told := topics[topic]; told {
		return len(detail.Partitions), detail.Err
	}
	return 0, kerr.UnknownTopicOrPartition
}

func (f *franz) Grow(topic string, total int) error {
	answers, err := f.admin.UpdatePartitions(patience(), total, topic)
	return errors.Join(err, answers[topic].Err)
}

func (f *franz) Config(topic, name string) (string, error) {
	answers, err := f.admin.DescribeTopicConfigs(patience(), topic)
	if err != nil {
		return "", err
	}
	for _, config := range answers[0].Configs {
		if config.Key == name {
			return config.MaybeValue(), answers[0].Err
		}
	}
	return "", answers[0].Err
}

func (f *franz) SetConfig(topic, name, value string) error {
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	answers, err := f.admin.AlterTopicConfigs(patience(), []kadm.AlterConfig{change}, topic)
	if err != nil {
		return err
	}
	return answers[0].Err
}

func franzRecords(topic string, partition int, records []Record) []*kgo.Record {
	var all []*kgo.Record
	for _, r := range records {
		one := &kgo.Record{Topic: topic, Partition: int32(partition), Key: r.Key, Value: r.Value}
		if r.Ms != 0 {
			one.Timestamp = time.UnixMilli(r.Ms)
		}
		for _, h := range r.Headers {
			one.Headers = append(one.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
		all = append(all, one)
	}
	return all
}

func fromFranz(r *kgo.Record) Record {
	one := Record{Key: r.Key, Value: r.Value, Ms: r.Timestamp.UnixMilli(), Offset: r.Offset}
	for _, h := range r.Headers {
		one.Headers = append(one.Headers, Header{h.Key, h.Value})
	}
	return one
}

func (f *franz) Write(topic string, partition int, records []Record, codec string) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	client, err := f.client(kgo.ProducerBatchCompression(codecs[codec]))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(patience(), franzRecords(topic, partition, records)...).FirstErr()
}

func (f *franz) Read(topic string, partition int, start int64, committedOnly bool) ([]Record, error) {
	ends, err := f.admin.ListEndOffsets(patience(), topic)
	if err != nil {
		return nil, err
	}
	end, _ := ends.Lookup(topic, int32(partition))
	level := kgo.ReadUncommitted()
	if committedOnly {
		level = kgo.ReadCommitted()
	}
	client, err := f.client(kgo.FetchIsolationLevel(level), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {int32(partition): kgo.NewOffset().At(start)},
	}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var found []Record
	for limit := patience(); len(found) == 0 || found[len(found)-1].Offset < end.Offset-1; {
		fetches := client.PollFetches(limit)
		if err := fetches.Err(); err != nil {
			return found, err
		}
		fetches.EachRecord(func(r *kgo.Record) { found = append(found, fromFranz(r)) })
	}
	return found, nil
}

func (f *franz) OffsetAt(topic string, partition int, ms int64) (int64, error) {
	answers, err := f.admin.ListOffsetsAfterMilli(patience(), ms, topic)
	if err != nil {
		return -1, err
	}
	found, _ := answers.Lookup(topic, int32(partition))
	return found.Offset, found.Err
}

type franzMember struct {
	client   *kgo.Client
	assigned atomic.Int64
	ended    chan error
	stop     context.CancelFunc
}

func (f *franz) Join(group, topic, protocol string, seen func(Record)) (Member, error) {
	member := &franzMember{ended: make(chan error, 1)}
	count := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
			member.assigned.Add(int64(sign * len(places[topic])))
		}
	}
	ctx := context.Background()
	if protocol == "consumer" {
		// How franz-go is asked for KIP-848 as long as it is not its default.
		ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
	}
	client, err := f.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.WithContext(ctx),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(count(1)), kgo.OnPartitionsRevoked(count(-1)), kgo.OnPartitionsLost(count(-1)))
	if err != nil {
		return nil, err
	}
	member.client = client
	polling, stop := context.WithCancel(context.Background())
	member.stop = stop
	go func() {
		for polling.Err() == nil {
			client.PollFetches(polling).EachRecord(func(r *kgo.Record) { seen(fromFranz(r)) })
			client.CommitUncommittedOffsets(patience())
			client.AllowRebalance()
		}
		client.CloseAllowingRebalance()
		member.ended <- nil
	}()
	return member, nil
}

func (m *franzMember) Assigned() int { return int(m.assigned.Load()) }

func (m *franzMember) Close() error {
	m.stop()
	return <-m.ended
}

func (f *franz) GroupType(group string) (string, error) {
	told, err := f.admin.DescribeConsumerGroups(patience(), group)
	if err != nil || told[group].Err != nil {
		return "classic", errors.Join(err, told[group].Err)
	}
	return "consumer", nil
}

func (f *franz) Committed(group, topic string, partitions int) (int64, error) {
	offsets, err := f.admin.FetchOffsets(patience(), group)
	sum := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum, err
}

type franzTransaction struct{ client *kgo.Client }

func (f *franz) Transaction(id string) (Transaction, error) {
	client, err := f.client(kgo.TransactionalID(id))
	return franzTransaction{client}, err
}

func (t franzTransaction) Begin() error { return t.client.BeginTransaction() }

func (t franzTransaction) Write(topic string, records []Record) error {
	return t.client.ProduceSync(patience(), franzRecords(topic, 0, records)...).FirstErr()
}

func (t franzTransaction) End(commit bool) error {
	return t.client.EndTransaction(patience(), kgo.TransactionEndTry(commit))
}

func (t franzTransaction) Close() { t.client.Close() }

func (f *franz) Code(err error) int {
	var known *kerr.Error
	if errors.As(err, &known) {
		return int(known.Code)
	}
	return -2
}

// patience bounds one call.
func patience() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	context.AfterFunc(ctx, cancel)
	return ctx
}
