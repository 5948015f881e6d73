package main

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	octets = "Content-Type: application/offset+octet-stream\r\n"
	block  = 1 << 20
)

// pattern is what every upload consists of, again and again.
var pattern = makePattern()

func makePattern() []byte {
	data := make([]byte, block)
	state := uint64(0x9E3779B97F4A7C15)
	for i := 0; i < block; i += 8 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		binary.LittleEndian.PutUint64(data[i:], state)
	}
	return data
}

func target(o Options) *url.URL {
	parsed, err := url.Parse(o.url)
	if err != nil {
		fail("%v", err)
	}
	return parsed
}

// Client is one connection that is replaced when the server wants to close it.
type Client struct {
	target *url.URL
	wire   *Wire
}

func newClient(o Options) *Client { return &Client{target: target(o), wire: dial(target(o))} }

func (c *Client) do(method, path, headers string, body []byte) Answer {
	c.wire.send(method, path, headers, body)
	return c.settle(c.wire.answer(method))
}

func (c *Client) settle(answer Answer) Answer {
	if answer.closes {
		c.wire.close()
		c.wire = dial(c.target)
	}
	return answer
}

func (c *Client) path(location string) string {
	parsed, err := c.target.Parse(location)
	if err != nil || location == "" {
		fail("no usable Location %q", location)
	}
	return parsed.RequestURI()
}

// Metadata that also the picky ones among the servers accept.
const metadata = "Upload-Metadata: filename YmVuY2guYmlu,filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt\r\n"

func (c *Client) create(size int64, extra string) string {
	answer := c.do("POST", c.target.RequestURI(), fmt.Sprintf("Upload-Length: %d\r\nContent-Length: 0\r\n%s%s", size, metadata, extra), nil)
	if answer.status != 201 {
		fail("creation was answered %d", answer.status)
	}
	return c.path(answer.location)
}

// patch sends size bytes from the pattern, which begins anew at each block of the upload.
func (c *Client) patch(path string, offset, size int64, extra string) {
	c.wire.send("PATCH", path, fmt.Sprintf("Upload-Offset: %d\r\nContent-Length: %d\r\n%s%s", offset, size, octets, extra), nil)
	for sent := int64(0); sent < size; {
		from := (offset + sent) % block
		piece := min(block-from, size-sent)
		c.wire.write(pattern[from : from+piece])
		sent += piece
	}
	answer := c.settle(c.wire.answer("PATCH"))
	if answer.status != 204 || answer.offset != offset+size {
		fail("PATCH at %d was answered %d with offset %d", offset, answer.status, answer.offset)
	}
}

// checksums of the whole chunks, which all begin at a block, computed once.
func checksumHeader(algorithm string, size int64) string {
	if algorithm == "" {
		return ""
	}
	var digest []byte
	sha, crc := sha1.New(), crc32.NewIEEE()
	for left := size; left > 0; left -= block {
		piece := pattern[:min(left, block)]
		sha.Write(piece)
		crc.Write(piece)
	}
	switch algorithm {
	case "sha1":
		digest = sha.Sum(nil)
	case "crc32":
		digest = crc.Sum(nil)
	default:
		fail("unknown -checksum")
	}
	return fmt.Sprintf("Upload-Checksum: %s %s\r\n", algorithm, base64.StdEncoding.EncodeToString(digest))
}

func onePatch(o Options, t *Tally) func() {
	client := newClient(o)
	path := client.create(o.size, "")
	extra := checksumHeader(o.checksum, o.size)
	t.note(path)
	send := client.patch
	if o.chunked {
		send = client.patchInChunks
	} else if o.http2 {
		send = client.patchByHTTP2
	}
	return func() {
		started := time.Now()
		send(path, 0, o.size, extra)
		t.add(o.size, time.Since(started))
	}
}

func chunks(o Options, t *Tally) func() {
	client := newClient(o)
	path := client.create(o.size, "")
	extra := checksumHeader(o.checksum, o.chunk)
	t.note(path)
	return func() {
		for offset := int64(0); offset < o.size; {
			size := min(o.chunk, o.size-offset)
			if size != o.chunk {
				extra = checksumHeader(o.checksum, size)
			}
			started := time.Now()
			client.patch(path, offset, size, extra)
			t.add(size, time.Since(started))
			offset += size
		}
	}
}

func parallelPatches(o Options, t *Tally) func() {
	clients, paths := make([]*Client, o.parallel), make([]string, o.parallel)
	extra := checksumHeader(o.checksum, o.size)
	for number := range clients {
		clients[number] = newClient(o)
		paths[number] = clients[number].create(o.size, "")
	}
	t.note(paths[0])
	return func() {
		each(o.parallel, func(number int) {
			started := time.Now()
			clients[number].patch(paths[number], 0, o.size, extra)
			t.add(o.size, time.Since(started))
		})
	}
}

// many shares o.requests among o.parallel connections.
func many(o Options, work func(client *Client, number int)) func() {
	clients := make([]*Client, o.parallel)
	for number := range clients {
		clients[number] = newClient(o)
	}
	var next atomic.Int64
	return func() {
		each(o.parallel, func(number int) {
			for {
				turn := int(next.Add(1)) - 1
				if turn >= o.requests {
					return
				}
				work(clients[number], turn)
			}
		})
	}
}

func smallUploads(o Options, t *Tally) func() {
	body := pattern[:o.size]
	headers := fmt.Sprintf("Upload-Offset: 0\r\nContent-Length: %d\r\n%s", o.size, octets)
	return many(o, func(client *Client, _ int) {
		started := time.Now()
		path := client.create(o.size, "")
		answer := client.do("PATCH", path, headers, body)
		if answer.status != 204 || answer.offset != o.size {
			fail("PATCH was answered %d with offset %d", answer.status, answer.offset)
		}
		t.add(o.size, time.Since(started))
	})
}

func smallPosts(o Options, t *Tally) func() {
	headers := fmt.Sprintf("Upload-Length: %d\r\nContent-Length: %d\r\n%s%s", o.size, o.size, metadata, octets)
	return many(o, func(client *Client, _ int) {
		started := time.Now()
		answer := client.do("POST", client.target.RequestURI(), headers, pattern[:o.size])
		if answer.status != 201 || answer.offset != o.size {
			fail("POST was answered %d with offset %d", answer.status, answer.offset)
		}
		t.add(o.size, time.Since(started))
	})
}

func headsOn(o Options, t *Tally, uploads int) func() {
	client := newClient(o)
	paths := make([]string, uploads)
	for number := range paths {
		paths[number] = client.create(o.size, "")
	}
	return many(o, func(client *Client, number int) {
		started := time.Now()
		answer := client.do("HEAD", paths[number%uploads], "", nil)
		if answer.status/100 != 2 || answer.offset != 0 {
			fail("HEAD was answered %d with offset %d", answer.status, answer.offset)
		}
		t.add(0, time.Since(started))
	})
}

func heads(o Options, t *Tally) func() { return headsOn(o, t, 1000) }

func headsOnOne(o Options, t *Tally) func() { return headsOn(o, t, 1) }

// slowClients drip their bytes in a dozen pieces per second each.
func slowClients(o Options, t *Tally) func() {
	const pause = 80 * time.Millisecond
	piece := o.rate * int64(pause) / int64(time.Second)
	pieces := int64(o.seconds * float64(time.Second) / float64(pause))
	size := piece * pieces
	clients, paths := make([]*Client, o.parallel), make([]string, o.parallel)
	for number := range clients {
		clients[number] = newClient(o)
		paths[number] = clients[number].create(size, "")
	}
	return func() {
		each(o.parallel, func(number int) {
			client := clients[number]
			time.Sleep(pause * time.Duration(number) / time.Duration(o.parallel))
			client.wire.send("PATCH", paths[number], fmt.Sprintf("Upload-Offset: 0\r\nContent-Length: %d\r\n%s", size, octets), nil)
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for sent := int64(0); sent < size; sent += piece {
				<-tick.C
				from := sent % (block - piece)
				client.wire.write(pattern[from : from+piece])
			}
			started := time.Now()
			answer := client.wire.answer("PATCH")
			if answer.status != 204 || answer.offset != size {
				fail("a slow PATCH was answered %d with offset %d", answer.status, answer.offset)
			}
			// How long the answer took after the last byte.
			t.add(size, time.Since(started))
		})
	}
}

func download(o Options, t *Tally) func() {
	client := newClient(o)
	path := client.create(o.size, "")
	client.patch(path, 0, o.size, "")
	return func() {
		started := time.Now()
		client.wire.send("GET", path, "", nil)
		answer := client.wire.head1()
		if answer.status != 200 {
			fail("GET was answered %d", answer.status)
		}
		read, err := io.CopyN(io.Discard, client.wire.reader, o.size)
		if err != nil {
			fail("GET ended after %d bytes: %v", read, err)
		}
		t.add(read, time.Since(started))
	}
}

func concatenation(o Options, t *Tally) func() {
	client := newClient(o)
	urls := make([]string, o.parallel)
	for number := range urls {
		path := client.create(o.size, "Upload-Concat: partial\r\n")
		client.patch(path, 0, o.size, "")
		urls[number] = client.target.ResolveReference(&url.URL{Path: path}).String()
	}
	return func() {
		started := time.Now()
		headers := fmt.Sprintf("Content-Length: 0\r\n%sUpload-Concat: final;%s\r\n", metadata, strings.Join(urls, " "))
		answer := client.do("POST", client.target.RequestURI(), headers, nil)
		if answer.status != 201 {
			fail("the joining was answered %d", answer.status)
		}
		t.add(o.size*int64(o.parallel), time.Since(started))
		t.note(client.path(answer.location))
	}
}
