package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Wire is one kept connection.
type Wire struct {
	conn   net.Conn
	reader *bufio.Reader
	host   string
	head   []byte
}

// Answer is what matters of one.
type Answer struct {
	status   int
	offset   int64
	length   int64
	location string
	closes   bool
	chunked  bool
}

func dial(target *url.URL) *Wire {
	conn, err := net.Dial("tcp", target.Host)
	if err != nil {
		fail("cannot connect: %v", err)
	}
	if target.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return &Wire{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10), host: target.Host}
}

func (w *Wire) close() { w.conn.Close() }

// send writes a head and the body that belongs to it, in one packet when it is small.
func (w *Wire) send(method, path string, headers string, body []byte) {
	w.head = w.head[:0]
	w.head = append(w.head, method...)
	w.head = append(w.head, ' ')
	w.head = append(w.head, path...)
	w.head = append(w.head, " HTTP/1.1\r\nHost: "...)
	w.head = append(w.head, w.host...)
	w.head = append(w.head, "\r\nTus-Resumable: 1.0.0\r\n"...)
	w.head = append(w.head, headers...)
	w.head = append(w.head, "\r\n"...)
	if len(body) <= 64<<10 {
		w.head = append(w.head, body...)
		body = nil
	}
	w.write(w.head)
	w.write(body)
}

func (w *Wire) write(data []byte) {
	if len(data) == 0 {
		return
	}
	if _, err := w.conn.Write(data); err != nil {
		// The server may have answered early: that says why.
		answer := w.answer("PATCH")
		fail("cannot send (%v); the server answered %d", err, answer.status)
	}
}

func (w *Wire) answer(method string) Answer {
	answer := w.head1()
	for answer.status < 200 {
		answer = w.head1()
	}
	if method != "HEAD" && answer.chunked {
		w.skipChunks()
	} else if method != "HEAD" && answer.length > 0 {
		if _, err := io.CopyN(io.Discard, w.reader, answer.length); err != nil {
			fail("cannot read the body of an answer: %v", err)
		}
	}
	return answer
}

func (w *Wire) skipChunks() {
	for {
		size, err := strconv.ParseInt(w.line(), 16, 64)
		if err != nil {
			fail("cannot read the length of a chunk: %v", err)
		}
		if _, err := io.CopyN(io.Discard, w.reader, size); err != nil {
			fail("cannot read a chunk: %v", err)
		}
		w.line()
		if size == 0 {
			return
		}
	}
}

func (w *Wire) head1() Answer {
	answer := Answer{offset: -1}
	line := w.line()
	if len(line) < 12 {
		fail("no answer")
	}
	answer.status, _ = strconv.Atoi(line[9:12])
	for {
		line = w.line()
		if line == "" {
			return answer
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "upload-offset":
			answer.offset, _ = strconv.ParseInt(value, 10, 64)
		case "content-length":
			answer.length, _ = strconv.ParseInt(value, 10, 64)
		case "location":
			answer.location = value
		case "transfer-encoding":
			answer.chunked = strings.EqualFold(value, "chunked")
		case "connection":
			answer.closes = strings.EqualFold(value, "close")
		}
	}
}

func (w *Wire) line() string {
	line, err := w.reader.ReadString('\n')
	if err != nil {
		fail("cannot read an answer: %v", err)
	}
	return strings.TrimRight(line, "\r\n")
}
