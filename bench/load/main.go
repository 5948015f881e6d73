// The load of the benchmark: one case against one server, then one line of JSON.
//
//	load -url http://127.0.0.1:8080/files/ -case patch -size 2147483648
//
// When it has prepared the case it prints "ready" and waits for a line (or the end) of its input, so
// that whoever measures the server can look at it just before. It writes HTTP/1.1 by itself, because
// what it costs is taken from the same two cores.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"
)

// Options are the flags.
type Options struct {
	url      string
	name     string
	size     int64
	chunk    int64
	parallel int
	requests int
	seconds  float64
	rate     int64
	checksum string
	chunked  bool
	http2    bool
}

// Result is what one case came to. Times in seconds, sizes in bytes.
type Result struct {
	Case      string  `json:"case"`
	Bytes     int64   `json:"bytes"`
	Requests  int     `json:"requests"`
	Seconds   float64 `json:"seconds"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	ClientCPU float64 `json:"client_cpu"`
	Upload    string  `json:"upload"`
}

// Tally gathers what the workers of a case did.
type Tally struct {
	mutex     sync.Mutex
	latencies []float64
	bytes     int64
	upload    string
}

func (t *Tally) add(bytes int64, latency time.Duration) {
	t.mutex.Lock()
	t.bytes += bytes
	t.latencies = append(t.latencies, latency.Seconds())
	t.mutex.Unlock()
}

func (t *Tally) note(upload string) {
	t.mutex.Lock()
	t.upload = upload
	t.mutex.Unlock()
}

func (t *Tally) quantile(q float64) float64 {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[int(q*float64(len(t.latencies)-1))]
}

// A case prepares outside of the measured time and returns what is measured.
type setup func(o Options, t *Tally) (run func())

var cases = map[string]setup{
	"patch":    onePatch,
	"chunks":   chunks,
	"parallel": parallelPatches,
	"small":    smallUploads,
	"post":     smallPosts,
	"head":     heads,
	"head-one": headsOnOne,
	"slow":     slowClients,
	"download": download,
	"concat":   concatenation,
}

func main() {
	var o Options
	flag.StringVar(&o.url, "url", "", "creation URL")
	flag.StringVar(&o.name, "case", "patch", "what to do")
	flag.Int64Var(&o.size, "size", 1<<31, "bytes of an upload")
	flag.Int64Var(&o.chunk, "chunk", 5<<20, "bytes of a PATCH, where there are several")
	flag.IntVar(&o.parallel, "parallel", 1, "connections at once")
	flag.IntVar(&o.requests, "requests", 10000, "uploads or requests altogether, where they are small")
	flag.Float64Var(&o.seconds, "seconds", 10, "how long slow clients send")
	flag.Int64Var(&o.rate, "rate", 64<<10, "bytes per second of a slow client")
	flag.StringVar(&o.checksum, "checksum", "", "algorithm of an Upload-Checksum on each PATCH")
	flag.BoolVar(&o.chunked, "chunked", false, "do not tell the length of a body")
	flag.BoolVar(&o.http2, "http2", false, "send the one PATCH by HTTP/2")
	isPattern := flag.Bool("pattern", false, "print the bytes that uploads are made of, and nothing else")
	flag.Parse()
	if *isPattern {
		os.Stdout.Write(pattern)
		return
	}
	make, known := cases[o.name]
	if !known || o.url == "" {
		fmt.Fprintln(os.Stderr, "load: unknown -case, or no -url")
		os.Exit(2)
	}
	var tally Tally
	run := make(o, &tally)
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	before := cpu()
	started := time.Now()
	run()
	seconds := time.Since(started).Seconds()
	sort.Float64s(tally.latencies)
	json.NewEncoder(os.Stdout).Encode(Result{
		Case: o.name, Bytes: tally.bytes, Requests: len(tally.latencies), Seconds: seconds,
		P50: tally.quantile(0.5), P99: tally.quantile(0.99), ClientCPU: cpu() - before, Upload: tally.upload,
	})
}

func cpu() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// each runs work in so many goroutines and waits for all.
func each(count int, work func(number int)) {
	var group sync.WaitGroup
	for number := 0; number < count; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			work(number)
		}(number)
	}
	group.Wait()
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "load: "+format+"\n", arguments...)
	os.Exit(1)
}
