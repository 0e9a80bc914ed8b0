// The plot (../README.md) by Go's clients: franz-go, sarama, kafka-go. BOOTSTRAP and ONLY come by the environment.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const wait = 30 * time.Second

var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Header is a header of a record; a nil value is null.
type Header struct {
	Name  string
	Value []byte
}

// Record is what every adapter takes and gives. A nil key or value is null.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Ms, Offset int64
}

// Member is one of a consumer group, reading on its own and committing what it has read.
type Member interface {
	Assigned() int
	Close() error
}

// Transaction is a producer with a transactional id.
type Transaction interface {
	Begin() error
	Write(topic string, records []Record) error
	End(commit bool) error
	Close()
}

// Client is one face for the clients. Read goes to the log's end as it was when it began.
type Client interface {
	Module() string
	// TellsNull: whether it reads null and empty as two things.
	TellsNull() bool
	Create(topic string, partitions int, configs map[string]string) error
	Delete(topic string) error
	Partitions(topic string) (int, error)
	Grow(topic string, total int) error
	Config(topic, name string) (string, error)
	SetConfig(topic, name, value string) error
	Write(topic string, partition int, records []Record, codec string) error
	Read(topic string, partition int, start int64, committedOnly bool) ([]Record, error)
	OffsetAt(topic string, partition int, ms int64) (int64, error)
	Join(group, topic, protocol string, seen func(Record)) (Member, error)
	GroupType(group string) (string, error)
	Committed(group, topic string, partitions int) (int64, error)
	Transaction(id string) (Transaction, error)
	Code(err error) int
}

var errUnsupported = errors.New("the client has none")
var baseMs = time.Now().Unix()*1000 - 600_000

func main() {
	bootstrap := os.Getenv("BOOTSTRAP")
	for _, client := range []Client{newFranz(bootstrap), newSarama(bootstrap), newSegmentio(bootstrap)} {
		name := client.Module()[strings.LastIndex(client.Module(), "/")+1:]
		prefix := fmt.Sprintf("go-%s-%d-", name, os.Getpid())
		plot := Plot{client, prefix}
		for _, feature := range []struct {
			name string
			run  func() error
		}{
			{"admin", plot.admin}, {"codecs", plot.codecs}, {"records", plot.records}, {"timestamp", plot.timestamp},
			{"group", func() error { return plot.group("classic") }},
			{"group-848", func() error { return plot.group("consumer") }},
			{"resume", plot.resume}, {"transaction", plot.transaction}, {"errors", plot.errors},
		} {
			if !strings.Contains(feature.name, os.Getenv("ONLY")) {
				continue
			}
			line := fmt.Sprintf("%s %s %s", name, version(client.Module()), feature.name)
			if err := feature.run(); errors.Is(err, errUnsupported) {
				fmt.Printf("skip %s: %v\n", line, err)
			} else if err != nil {
				fmt.Printf("FAIL %s: %s\n", line, strings.ReplaceAll(err.Error(), "\n", " "))
			} else {
				fmt.Println("ok " + line)
			}
		}
	}
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return strings.TrimPrefix(dependency.Version, "v")
		}
	}
	return "-"
}

// Plot is the same for all clients.
type Plot struct {
	client Client
	prefix string
}

func (plot Plot) admin() error {
	c, topic := plot.client, plot.prefix+"admin"
	if err := c.Create(topic, 3, map[string]string{"retention.ms": "7200000"}); err != nil {
		return err
	}
	if err := until("retention.ms", func() (any, error) { return c.Config(topic, "retention.ms") }, "7200000"); err != nil {
		return err
	}
	if err := c.SetConfig(topic, "retention.ms", "8000000"); err != nil {
		return err
	}
	if err := until("retention.ms", func() (any, error) { return c.Config(topic, "retention.ms") }, "8000000"); err != nil {
		return err
	}
	if err := c.Grow(topic, 4); err != nil {
		return err
	}
	if err := until("partitions", func() (any, error) { return c.Partitions(topic) }, 4); err != nil {
		return err
	}
	if err := c.Delete(topic); err != nil {
		return err
	}
	return until("code of a topic that is gone", func() (any, error) {
		_, err := c.Config(topic, "retention.ms")
		return c.Code(err), nil
	}, 3)
}

func (plot Plot) codecs() error {
	for _, codec := range codecs {
		topic := plot.prefix + codec
		if err := plot.client.Create(topic, 1, nil); err != nil {
			return err
		}
		if err := plot.written(topic, plain(300), codec); err != nil {
			return fmt.Errorf("%s: %w", codec, err)
		}
	}
	return nil
}

func (plot Plot) records() error {
	topic := plot.prefix + "records"
	if err := plot.client.Create(topic, 1, nil); err != nil {
		return err
	}
	var wanted []Record
	shapes := [][]byte{nil, {}, []byte("clé-鍵"), make([]byte, 5000)}
	for _, key := range shapes {
		for _, value := range shapes {
			headers := []Header{{"h", []byte("1")}, {"h", []byte{}}, {"ünï", []byte("wërt")}}
			at := baseMs + int64(len(wanted))
			wanted = append(wanted, Record{key, value, headers, at, 0}, Record{key, value, nil, at + 1, 0})
		}
	}
	return plot.written(topic, wanted, "none")
}

// written writes records and finds them again, from the start and from the middle.
func (plot Plot) written(topic string, wanted []Record, codec string) error {
	if err := plot.client.Write(topic, 0, wanted, codec); err != nil {
		return err
	}
	for _, start := range []int{0, len(wanted) / 2} {
		got, err := plot.client.Read(topic, 0, int64(start), false)
		if err != nil {
			return err
		}
		if !plot.client.TellsNull() {
			for n := range min(len(got), len(wanted)-start) {
				// What was written decides which of the two an empty one was.
				have, want := &got[n], wanted[start+n]
				if len(have.Key)+len(want.Key) == 0 {
					have.Key = want.Key
				}
				if len(have.Value)+len(want.Value) == 0 {
					have.Value = want.Value
				}
			}
		}
		if err := same(got, wanted[start:]); err != nil {
			return fmt.Errorf("read from %d: %w", start, err)
		}
	}
	return nil
}

func (plot Plot) timestamp() error {
	topic := plot.prefix + "timestamp"
	if err := plot.client.Create(topic, 1, nil); err != nil {
		return err
	}
	if err := plot.client.Write(topic, 0, plain(500), "none"); err != nil {
		return err
	}
	offset, err := plot.client.OffsetAt(topic, 0, baseMs+123*10-5)
	if err != nil || offset != 123 {
		return fmt.Errorf("offset at a time: %d, %w", offset, err)
	}
	got, err := plot.client.Read(topic, 0, offset, false)
	if err != nil {
		return err
	}
	return same(got, plain(500)[123:])
}

// tally counts what the members of a group have read, each record once.
type tally struct {
	lock sync.Mutex
	seen map[string]int
}

func (t *tally) add(record Record) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.seen[string(record.Value)]++
}

func (t *tally) count() (any, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	return len(t.seen), nil
}

func (plot Plot) group(protocol string) error {
	topic, group := plot.prefix+"group-"+protocol, plot.prefix+protocol
	if err := plot.client.Create(topic, 6, nil); err != nil {
		return err
	}
	read := &tally{seen: map[string]int{}}
	var members []Member
	defer func() {
		for _, member := range members {
			member.Close()
		}
	}()
	written := 0
	// Steps: so many members, and what each of them then has.
	for _, step := range []struct{ members, each int }{{1, 6}, {3, 2}, {2, 3}, {1, 6}} {
		for len(members) > step.members {
			last := members[len(members)-1]
			members = members[:len(members)-1]
			if err := last.Close(); err != nil {
				return fmt.Errorf("leaving: %w", err)
			}
		}
		for len(members) < step.members {
			member, err := plot.client.Join(group, topic, protocol, read.add)
			if err != nil {
				return err
			}
			members = append(members, member)
		}
		wanted := strings.TrimSpace(strings.Repeat(fmt.Sprintf("%d ", step.each), step.members))
		err := until("partitions of the members", func() (any, error) {
			var got []string
			for _, member := range members {
				got = append(got, fmt.Sprint(member.Assigned()))
			}
			return strings.Join(got, " "), nil
		}, wanted)
		if err != nil {
			return err
		}
		for partition := range 6 {
			var records []Record
			for n := range 10 {
				records = append(records, Record{Value: fmt.Appendf(nil, "%d %d %d", written, partition, n)})
			}
			if err := plot.client.Write(topic, partition, records, "none"); err != nil {
				return err
			}
		}
		written += 60
		if err := until("records read", read.count, written); err != nil {
			return err
		}
	}
	if protocol == "consumer" {
		// A client may quietly fall back to the classic protocol: the broker must know the group as the new kind.
		if err := until("group's type", func() (any, error) { return plot.client.GroupType(group) }, "consumer"); err != nil {
			return err
		}
	}
	return until("committed", func() (any, error) { return plot.client.Committed(group, topic, 6) }, int64(written))
}

func (plot Plot) resume() error {
	topic, group := plot.prefix+"resume", plot.prefix+"resume"
	if err := plot.client.Create(topic, 1, nil); err != nil {
		return err
	}
	for round := range 2 {
		var records []Record
		for n := range 100 {
			records = append(records, Record{Value: fmt.Appendf(nil, "%d", round*100+n)})
		}
		if err := plot.client.Write(topic, 0, records, "gzip"); err != nil {
			return err
		}
		read := &tally{seen: map[string]int{}}
		member, err := plot.client.Join(group, topic, "classic", read.add)
		if err != nil {
			return err
		}
		err = until("records read", read.count, 100)
		member.Close()
		if err != nil {
			return err
		}
		if _, again := read.seen["99"]; again != (round == 0) {
			return errors.New("the second round does not begin after the first")
		}
		if err := until("committed", func() (any, error) { return plot.client.Committed(group, topic, 1) }, int64(round+1)*100); err != nil {
			return err
		}
	}
	return nil
}

func (plot Plot) transaction() error {
	topic := plot.prefix + "transaction"
	if err := plot.client.Create(topic, 1, nil); err != nil {
		return err
	}
	transaction, err := plot.client.Transaction(plot.prefix + "id")
	if err != nil {
		return err
	}
	defer transaction.Close()
	var wanted []Record
	for round, commit := range []bool{true, false, true} {
		records := plain(10)
		for n := range records {
			records[n].Value = fmt.Appendf(nil, "%d %d", round, n)
		}
		if err := transaction.Begin(); err != nil {
			return err
		}
		if err := transaction.Write(topic, records); err != nil {
			return err
		}
		if err := transaction.End(commit); err != nil {
			return fmt.Errorf("end, commit %v: %w", commit, err)
		}
		if commit {
			wanted = append(wanted, records...)
		}
	}
	// The last record is a plain one: readers stop at it.
	last := plain(1)
	if err := plot.client.Write(topic, 0, last, "none"); err != nil {
		return err
	}
	got, err := plot.client.Read(topic, 0, 0, true)
	if err != nil {
		return err
	}
	if err := same(got, append(wanted, last...)); err != nil {
		return fmt.Errorf("committed: %w", err)
	}
	all, err := plot.client.Read(topic, 0, 0, false)
	if err == nil && len(all) != 31 {
		err = fmt.Errorf("31 records in all, not %d", len(all))
	}
	return err
}

func (plot Plot) errors() error {
	c, topic := plot.client, plot.prefix+"errors"
	if err := c.Create(topic, 1, map[string]string{"max.message.bytes": "10000"}); err != nil {
		return err
	}
	_, unknown := c.Config(plot.prefix+"missing", "retention.ms")
	for _, one := range []struct {
		what string
		err  error
		code int
	}{
		{"too large", c.Write(topic, 0, []Record{{Value: make([]byte, 50_000)}}, "none"), 10},
		{"exists", c.Create(topic, 1, nil), 36},
		{"bad name", c.Create("no good name!", 1, nil), 17},
		{"unknown topic", unknown, 3},
	} {
		if got := c.Code(one.err); got != one.code {
			return fmt.Errorf("%s: wanted code %d, got %d: %v", one.what, one.code, got, one.err)
		}
	}
	return nil
}

func plain(count int) []Record {
	var records []Record
	for n := range count {
		value := fmt.Sprintf("v%d%s", n, strings.Repeat(" same again", n%50))
		records = append(records, Record{fmt.Appendf(nil, "k%d", n%7), []byte(value), nil, baseMs + int64(n)*10, 0})
	}
	return records
}

func same(got, wanted []Record) error {
	if len(got) != len(wanted) {
		return fmt.Errorf("wanted %d records, got %d", len(wanted), len(got))
	}
	for n, want := range wanted {
		have := got[n]
		if !bytes.Equal(have.Key, want.Key) || (have.Key == nil) != (want.Key == nil) {
			return fmt.Errorf("offset %d: wanted key %q, got %q", have.Offset, want.Key, have.Key)
		}
		if !bytes.Equal(have.Value, want.Value) || (have.Value == nil) != (want.Value == nil) {
			return fmt.Errorf("offset %d: wanted value %.60q, got %.60q", have.Offset, want.Value, have.Value)
		}
		if fmt.Sprint(have.Headers) != fmt.Sprint(want.Headers) {
			return fmt.Errorf("offset %d: wanted headers %v, got %v", have.Offset, want.Headers, have.Headers)
		}
		if have.Ms != want.Ms {
			return fmt.Errorf("offset %d: wanted time %d, got %d", have.Offset, want.Ms, have.Ms)
		}
	}
	return nil
}

// until asks until the answer is the wanted one.
func until(what string, ask func() (any, error), wanted any) error {
	for deadline := time.Now().Add(2 * wait); ; time.Sleep(30 * time.Millisecond) {
		got, err := ask()
		if err == nil && got == wanted {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: wanted %v, got %v, %w", what, wanted, got, err)
		}
	}
}
