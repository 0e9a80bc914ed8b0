package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct {
	bootstrap []string
	admin     sarama.ClusterAdmin
}

func newSarama(bootstrap string) Client {
	s := &saramaClient{bootstrap: []string{bootstrap}}
	admin, err := sarama.NewClusterAdmin(s.bootstrap, s.config())
	if err != nil {
		panic(err)
	}
	s.admin = admin
	return s
}

func (s *saramaClient) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return config
}

// writing is the config of an idempotent producer, which must not have more than one request under way.
func (s *saramaClient) writing() *sarama.Config {
	config := s.config()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	return config
}

func (s *saramaClient) Module() string { return "github.com/IBM/sarama" }

func (s *saramaClient) TellsNull() bool { return true }

func (s *saramaClient) Create(topic string, partitions int, configs map[string]string) error {
	detail := &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
	for name, value := range configs {
		detail.ConfigEntries[name] = &value
	}
	return s.admin.CreateTopic(topic, detail, false)
}

func (s *saramaClient) Delete(topic string) error { return s.admin.DeleteTopic(topic) }

func (s *saramaClient) Partitions(topic string) (int, error) {
	told, err := s.admin.DescribeTopics([]string{topic})
	if err != nil {
		return 0, err
	}
	if told[0].Err != sarama.ErrNoError {
		return 0, told[0].Err
	}
	return len(told[0].Partitions), nil
}

func (s *saramaClient) Grow(topic string, total int) error {
	return s.admin.CreatePartitions(topic, int32(total), nil, false)
}

func (s *saramaClient) Config(topic, name string) (string, error) {
	entries, err := s.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	for _, entry := range entries {
		if entry.Name == name {
			return entry.Value, err
		}
	}
	return "", err
}

func (s *saramaClient) SetConfig(topic, name, value string) error {
	entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	return s.admin.IncrementalAlterConfig(sarama.TopicResource, topic,
		map[string]sarama.IncrementalAlterConfigsEntry{name: entry}, false)
}

func saramaMessages(topic string, partition int, records []Record) []*sarama.ProducerMessage {
	var all []*sarama.ProducerMessage
	for _, r := range records {
		one := &sarama.ProducerMessage{Topic: topic, Partition: int32(partition)}
		if r.Ms != 0 {
			one.Timestamp = time.UnixMilli(r.Ms)
		}
		if r.Key != nil {
			one.Key = sarama.ByteEncoder(r.Key)
		}
		if r.Value != nil {
			one.Value = sarama.ByteEncoder(r.Value)
		}
		for _, h := range r.Headers {
			one.Headers = append(one.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value})
		}
		all = append(all, one)
	}
	return all
}

func fromSarama(m *sarama.ConsumerMessage) Record {
	one := Record{Key: m.Key, Value: m.Value, Ms: m.Timestamp.UnixMilli(), Offset: m.Offset}
	for _, h := range m.Headers {
		one.Headers = append(one.Headers, Header{string(h.Key), h.Value})
	}
	return one
}

// firstOf is the first error that a SendMessages has gathered.
func firstOf(err error) error {
	var all sarama.ProducerErrors
	if errors.As(err, &all) {
		return all[0].Err
	}
	return err
}

func (s *saramaClient) Write(topic string, partition int, records []Record, codec string) error {
	config := s.writing()
	if err := config.Producer.Compression.UnmarshalText([]byte(codec)); err != nil {
		return err
	}
	producer, err := sarama.NewSyncProducer(s.bootstrap, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	return firstOf(producer.SendMessages(saramaMessages(topic, partition, records)))
}

func (s *saramaClient) Read(topic string, partition int, start int64, committedOnly bool) ([]Record, error) {
	config := s.config()
	if committedOnly {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	client, err := sarama.NewClient(s.bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	end, err := client.GetOffset(topic, int32(partition), sarama.OffsetNewest)
	if err != nil {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	part, err := consumer.ConsumePartition(topic, int32(partition), start)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	var found []Record
	for len(found) == 0 || found[len(found)-1].Offset < end-1 {
		select {
		case message := <-part.Messages():
			found = append(found, fromSarama(message))
		case <-time.After(wait):
			return found, errors.New("no record came")
		}
	}
	return found, nil
}

func (s *saramaClient) OffsetAt(topic string, partition int, ms int64) (int64, error) {
	client, err := sarama.NewClient(s.bootstrap, s.config())
	if err != nil {
		return -1, err
	}
	defer client.Close()
	return client.GetOffset(topic, int32(partition), ms)
}

type saramaMember struct {
	group    sarama.ConsumerGroup
	assigned atomic.Int64
	seen     func(Record)
	stop     context.CancelFunc
	ended    chan error
}

func (s *saramaClient) Join(group, topic, protocol string, seen func(Record)) (Member, error) {
	if protocol != "classic" {
		return nil, errUnsupported
	}
	joined, err := sarama.NewConsumerGroup(s.bootstrap, group, s.config())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	member := &saramaMember{group: joined, seen: seen, stop: stop, ended: make(chan error, 1)}
	go func() {
		for ctx.Err() == nil {
			if err := joined.Consume(ctx, []string{topic}, member); err != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
		member.ended <- joined.Close()
	}()
	return member, nil
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		m.assigned.Store(int64(len(partitions)))
	}
	return nil
}

func (m *saramaMember) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	return nil
}

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.seen(fromSarama(message))
			session.MarkMessage(message, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *saramaMember) Assigned() int { return int(m.assigned.Load()) }

func (m *saramaMember) Close() error {
	m.stop()
	return <-m.ended
}

func (s *saramaClient) GroupType(string) (string, error) { return "", errUnsupported }

func (s *saramaClient) Committed(group, topic string, partitions int) (int64, error) {
	answer, err := s.admin.ListConsumerGroupOffsets(group, nil)
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, block := range answer.Blocks[topic] {
		sum += block.Offset
	}
	return sum, nil
}

type saramaTransaction struct{ producer sarama.SyncProducer }

func (s *saramaClient) Transaction(id string) (Transaction, error) {
	config := s.writing()
	config.Producer.Transaction.ID = id
	producer, err := sarama.NewSyncProducer(s.bootstrap, config)
	return saramaTransaction{producer}, err
}

func (t saramaTransaction) Begin() error { return t.producer.BeginTxn() }

func (t saramaTransaction) Write(topic string, records []Record) error {
	return firstOf(t.producer.SendMessages(saramaMessages(topic, 0, records)))
}

func (t saramaTransaction) End(commit bool) error {
	if commit {
		return t.producer.CommitTxn()
	}
	return t.producer.AbortTxn()
}

func (t saramaTransaction) Close() { t.producer.Close() }

func (s *saramaClient) Code(err error) int {
	var known sarama.KError
	if errors.As(err, &known) {
		return int(known)
	}
	return -2
}
