package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// patchInChunks is patch without a Content-Length.
func (c *Client) patchInChunks(path string, offset, size int64, extra string) {
	c.wire.send("PATCH", path, fmt.Sprintf("Upload-Offset: %d\r\nTransfer-Encoding: chunked\r\n%s%s", offset, octets, extra), nil)
	for sent := int64(0); sent < size; {
		from := (offset + sent) % block
		piece := min(block-from, size-sent)
		c.wire.write([]byte(fmt.Sprintf("%x\r\n", piece)))
		c.wire.write(pattern[from : from+piece])
		c.wire.write([]byte("\r\n"))
		sent += piece
	}
	c.wire.write([]byte("0\r\n\r\n"))
	answer := c.settle(c.wire.answer("PATCH"))
	if answer.status != 204 || answer.offset != offset+size {
		fail("a chunked PATCH was answered %d with offset %d", answer.status, answer.offset)
	}
}

// Patterned reads the pattern from a place to another.
type Patterned struct{ at, end int64 }

func (p *Patterned) Read(into []byte) (int, error) {
	if p.at == p.end {
		return 0, io.EOF
	}
	from := p.at % block
	count := copy(into, pattern[from:min(block, from+p.end-p.at)])
	p.at += int64(count)
	return count, nil
}

// patchByHTTP2 leaves it to Go's own client. The extra headers of a checksum are not sent.
func (c *Client) patchByHTTP2(path string, offset, size int64, extra string) {
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		WriteBufferSize:   block,
	}
	request, err := http.NewRequest("PATCH", c.target.Scheme+"://"+c.target.Host+path, &Patterned{offset, offset + size})
	if err != nil {
		fail("%v", err)
	}
	request.ContentLength = size
	request.Header.Set("Tus-Resumable", "1.0.0")
	request.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	request.Header.Set("Content-Type", "application/offset+octet-stream")
	answer, err := transport.RoundTrip(request)
	if err != nil {
		fail("PATCH by HTTP/2: %v", err)
	}
	defer answer.Body.Close()
	if answer.ProtoMajor != 2 || answer.StatusCode != 204 || answer.Header.Get("Upload-Offset") != strconv.FormatInt(offset+size, 10) {
		fail("PATCH by %s was answered %d with offset %s", answer.Proto, answer.StatusCode, answer.Header.Get("Upload-Offset"))
	}
}
