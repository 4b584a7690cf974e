// A gateway as Go services are usually written: net/http, httputil.ReverseProxy, token buckets in memory under a mutex,
// a JSON line for each request and counters for Prometheus. The bench compares `ratelimitd proxy` with it.
//
//	gateway -listen 127.0.0.1:8080 -upstream 127.0.0.1:9000 -premium bench-key
package main

import (
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Tier is a rate for each caller of it: tokens that a full bucket holds, and those that come in a second.
type Tier struct {
	name  string
	burst float64
	rate  float64
}

type bucket struct {
	tokens float64
	last   time.Time
}

// Limiter has a bucket for each caller. Callers that did not come for a minute are forgotten.
type Limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

func newLimiter() *Limiter {
	limiter := &Limiter{buckets: map[string]*bucket{}}
	go func() {
		for range time.Tick(time.Minute) {
			limiter.mu.Lock()
			for key, each := range limiter.buckets {
				if time.Since(each.last) > time.Minute {
					delete(limiter.buckets, key)
				}
			}
			limiter.mu.Unlock()
		}
	}()
	return limiter
}

// take takes a token, and returns whether there was one, how many are left, and the seconds until the bucket is full.
func (limiter *Limiter) take(key string, tier *Tier, now time.Time) (bool, int, int) {
	limiter.mu.Lock()
	defer limiter.mu.Unlock()
	found, ok := limiter.buckets[key]
	if !ok {
		found = &bucket{tier.burst, now}
		limiter.buckets[key] = found
	}
	found.tokens = min(tier.burst, found.tokens+now.Sub(found.last).Seconds()*tier.rate)
	found.last = now
	allowed := found.tokens >= 1
	if allowed {
		found.tokens--
	}
	return allowed, int(found.tokens), int((tier.burst-found.tokens)/tier.rate) + 1
}

var bounds = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Metrics counts requests by status, denials by tier, and latencies in buckets.
type Metrics struct {
	mu       sync.Mutex
	requests map[int]uint64
	limited  map[string]uint64
	latency  []atomic.Uint64
}

func newMetrics() *Metrics {
	return &Metrics{requests: map[int]uint64{}, limited: map[string]uint64{}, latency: make([]atomic.Uint64, len(bounds)+1)}
}

func (metrics *Metrics) count(status int, tier string, denied bool, took time.Duration) {
	at := 0
	for at < len(bounds) && took.Seconds() > bounds[at] {
		at++
	}
	metrics.latency[at].Add(1)
	metrics.mu.Lock()
	metrics.requests[status]++
	if denied {
		metrics.limited[tier]++
	}
	metrics.mu.Unlock()
}

func (metrics *Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	metrics.mu.Lock()
	defer metrics.mu.Unlock()
	for status, count := range metrics.requests {
		fmt.Fprintf(w, "gateway_requests_total{status=\"%d\"} %d\n", status, count)
	}
	for tier, count := range metrics.limited {
		fmt.Fprintf(w, "gateway_rate_limited_total{tier=%q} %d\n", tier, count)
	}
	sum := uint64(0)
	for at := range metrics.latency {
		bound := "+Inf"
		if at < len(bounds) {
			bound = strconv.FormatFloat(bounds[at], 'g', -1, 64)
		}
		sum += metrics.latency[at].Load()
		fmt.Fprintf(w, "gateway_request_seconds_bucket{le=%q} %d\n", bound, sum)
	}
}

// recorder notes the status and the size of a response.
type recorder struct {
	http.ResponseWriter
	status int
	sent   int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	n, err := r.ResponseWriter.Write(data)
	r.sent += n
	return n, err
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Gateway answers each request: an id, a token, the upstream's response, a line and a count.
type Gateway struct {
	premium map[string]bool
	tiers   map[string]*Tier
	limiter *Limiter
	metrics *Metrics
	log     *slog.Logger
	proxy   http.Handler
}

func (gateway *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	id := r.Header.Get("X-Request-Id")
	if id == "" {
		id = newID()
		r.Header.Set("X-Request-Id", id)
	}
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	caller, tier := "ip:"+client, gateway.tiers["anonymous"]
	if key := r.Header.Get("X-API-Key"); key != "" {
		caller, tier = "key:"+key, gateway.tiers["basic"]
		if gateway.premium[key] {
			tier = gateway.tiers["premium"]
		}
	}
	recorded := &recorder{ResponseWriter: w, status: http.StatusOK}
	allowed, left, full := gateway.limiter.take(caller, tier, began)
	head := w.Header()
	head.Set("X-Request-Id", id)
	head.Set("X-RateLimit-Limit", strconv.Itoa(int(tier.burst)))
	head.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	head.Set("X-RateLimit-Reset", strconv.Itoa(full))
	if allowed {
		gateway.proxy.ServeHTTP(recorded, r)
	} else {
		head.Set("Retry-After", "1")
		head.Set("Content-Type", "application/json")
		recorded.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprintf(recorded, `{"error":"rate_limited","request_id":%q}`, id)
	}
	took := time.Since(began)
	gateway.metrics.count(recorded.status, tier.name, !allowed, took)
	gateway.log.Info("request", "method", r.Method, "path", r.URL.Path, "request_id", id, "client", client, "tier", tier.name,
		"status", recorded.status, "latency", took.Nanoseconds(), "sent", recorded.sent)
}

func newID() string {
	var random [16]byte
	_, _ = rand.Read(random[:])
	text := hex.EncodeToString(random[:])
	return text[:8] + "-" + text[8:12] + "-4" + text[13:16] + "-a" + text[17:20] + "-" + text[20:]
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	upstream := flag.String("upstream", "127.0.0.1:9000", "address of the upstream")
	premium := flag.String("premium", "", "API key of the premium tier")
	rate := flag.Float64("rate", 1e9, "tokens in a second of the premium tier")
	flag.Parse()

	target := &url.URL{Scheme: "http", Host: *upstream}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		// The default keeps two idle connections, and would make a new one for most requests.
		Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true},
	}
	gateway := &Gateway{
		premium: map[string]bool{*premium: *premium != ""},
		tiers: map[string]*Tier{
			"premium":   {"premium", *rate, *rate},
			"basic":     {"basic", 10, 10},
			"anonymous": {"anonymous", 5, 5},
		},
		limiter: newLimiter(),
		metrics: newMetrics(),
		log:     slog.New(slog.NewJSONHandler(os.Stdout, nil)),
		proxy:   proxy,
	}
	routes := http.NewServeMux()
	routes.Handle("/metrics", gateway.metrics)
	routes.Handle("/", gateway)
	server := &http.Server{Addr: *listen, Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}
