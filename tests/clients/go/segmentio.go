package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

type segmentio struct {
	bootstrap string
	client    *kafka.Client
}

func newSegmentio(bootstrap string) Client {
	return &segmentio{bootstrap, &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: wait}}
}

func (s *segmentio) Module() string { return "github.com/segmentio/kafka-go" }

func (s *segmentio) TellsNull() bool { return false }

func (s *segmentio) Create(topic string, partitions int, configs map[string]string) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}
	for name, value := range configs {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	answer, err := s.client.CreateTopics(patience(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (s *segmentio) Delete(topic string) error {
	answer, err := s.client.DeleteTopics(patience(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (s *segmentio) Partitions(topic string) (int, error) {
	answer, err := s.client.Metadata(patience(), &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	return len(answer.Topics[0].Partitions), answer.Topics[0].Error
}

func (s *segmentio) Grow(topic string, total int) error {
	grown := []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(total)}}
	answer, err := s.client.CreatePartitions(patience(), &kafka.CreatePartitionsRequest{Topics: grown})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (s *segmentio) Config(topic, name string) (string, error) {
	asked := []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{name},
	}}
	answer, err := s.client.DescribeConfigs(patience(), &kafka.DescribeConfigsRequest{Resources: asked})
	if err != nil {
		return "", err
	}
	told := answer.Resources[0]
	if len(told.ConfigEntries) == 0 {
		return "", told.Error
	}
	return told.ConfigEntries[0].ConfigValue, told.Error
}

func (s *segmentio) SetConfig(topic, name, value string) error {
	change := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
	}
	answer, err := s.client.IncrementalAlterConfigs(patience(), &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{change},
	})
	if err != nil {
		return err
	}
	return answer.Resources[0].Error
}

func (s *segmentio) Write(topic string, partition int, records []Record, codec string) error {
	writer := &kafka.Writer{
		Addr: kafka.TCP(s.bootstrap), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond,
		MaxAttempts: 3, Balancer: kafka.BalancerFunc(func(kafka.Message, ...int) int { return partition }),
	}
	if codec != "none" {
		if err := writer.Compression.UnmarshalText([]byte(codec)); err != nil {
			return err
		}
	}
	defer writer.Close()
	var messages []kafka.Message
	for _, r := range records {
		one := kafka.Message{Key: r.Key, Value: r.Value}
		if r.Ms != 0 {
			one.Time = time.UnixMilli(r.Ms)
		}
		for _, h := range r.Headers {
			one.Headers = append(one.Headers, kafka.Header{Key: h.Name, Value: h.Value})
		}
		messages = append(messages, one)
	}
	err := writer.WriteMessages(patience(), messages...)
	var all kafka.WriteErrors
	if errors.As(err, &all) {
		for _, one := range all {
			if one != nil {
				return one
			}
		}
	}
	return err
}

func fromSegmentio(m kafka.Message) Record {
	one := Record{Key: m.Key, Value: m.Value, Ms: m.Time.UnixMilli(), Offset: m.Offset}
	for _, h := range m.Headers {
		one.Headers = append(one.Headers, Header{h.Key, h.Value})
	}
	return one
}

func (s *segmentio) offset(topic string, partition int, asked kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	answer, err := s.client.ListOffsets(patience(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {asked}},
	})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	return answer.Topics[topic][0], answer.Topics[topic][0].Error
}

func (s *segmentio) reader(topic string, partition int, start int64, level kafka.IsolationLevel) *kafka.Reader {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{s.bootstrap}, Topic: topic, Partition: partition, MaxWait: 200 * time.Millisecond,
		IsolationLevel: level, MaxBytes: 10_000_000,
	})
	reader.SetOffset(start)
	return reader
}

func (s *segmentio) Read(topic string, partition int, start int64, committedOnly bool) ([]Record, error) {
	ends, err := s.offset(topic, partition, kafka.LastOffsetOf(partition))
	if err != nil {
		return nil, err
	}
	level := kafka.ReadUncommitted
	if committedOnly {
		level = kafka.ReadCommitted
	}
	reader := s.reader(topic, partition, start, level)
	defer reader.Close()
	var found []Record
	for limit := patience(); len(found) == 0 || found[len(found)-1].Offset < ends.LastOffset-1; {
		message, err := reader.ReadMessage(limit)
		if err != nil {
			return found, err
		}
		found = append(found, fromSegmentio(message))
	}
	return found, nil
}

func (s *segmentio) OffsetAt(topic string, partition int, ms int64) (int64, error) {
	found, err := s.offset(topic, partition, kafka.TimeOffsetOf(partition, time.UnixMilli(ms)))
	for offset := range found.Offsets {
		return offset, err
	}
	return -1, err
}

type segmentioMember struct {
	group    *kafka.ConsumerGroup
	lock     sync.Mutex
	assigned int
	stop     context.CancelFunc
	ended    chan error
}

func (s *segmentio) Join(group, topic, protocol string, seen func(Record)) (Member, error) {
	if protocol != "classic" {
		return nil, errUnsupported
	}
	joined, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{s.bootstrap}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: 200 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	member := &segmentioMember{group: joined, stop: stop, ended: make(chan error, 1)}
	go func() {
		for ctx.Err() == nil {
			generation, err := joined.Next(ctx)
			if err != nil {
				continue
			}
			member.lock.Lock()
			member.assigned = len(generation.Assignments[topic])
			member.lock.Unlock()
			for _, place := range generation.Assignments[topic] {
				generation.Start(func(ctx context.Context) {
					reader := s.reader(topic, place.ID, place.Offset, kafka.ReadUncommitted)
					defer reader.Close()
					for {
						message, err := reader.ReadMessage(ctx)
						if err != nil {
							return
						}
						seen(fromSegmentio(message))
						generation.CommitOffsets(map[string]map[int]int64{topic: {place.ID: message.Offset + 1}})
					}
				})
			}
		}
		member.ended <- joined.Close()
	}()
	return member, nil
}

func (m *segmentioMember) Assigned() int {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.assigned
}

func (m *segmentioMember) Close() error {
	m.stop()
	return <-m.ended
}

func (s *segmentio) GroupType(string) (string, error) { return "", errUnsupported }

func (s *segmentio) Committed(group, topic string, partitions int) (int64, error) {
	var all []int
	for n := range partitions {
		all = append(all, n)
	}
	answer, err := s.client.OffsetFetch(patience(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: all}})
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, one := range answer.Topics[topic] {
		sum += one.CommittedOffset
	}
	return sum, answer.Error
}

// Transaction: kafka-go has the calls, but its batches bear no producer id.
func (s *segmentio) Transaction(string) (Transaction, error) { return nil, errUnsupported }

func (s *segmentio) Code(err error) int {
	var tooLarge kafka.MessageTooLargeError
	if errors.As(err, &tooLarge) {
		return int(kafka.MessageSizeTooLarge)
	}
	var known kafka.Error
	if errors.As(err, &known) {
		return int(known)
	}
	return -2
}
