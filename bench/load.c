/* A load generator for one core: unary gRPC calls over c connections with m concurrent calls on each.
 *
 * A file contains the requests as consecutive gRPC frames (5 bytes, message); they are sent in turn, so that a load can
 * use many keys. The grpc-status and the code of every answer are checked. Usage:
 *
 *   load HOST PORT PATH FRAMES CONNECTIONS STREAMS SECONDS WARMUP CALLS RATE SCHEME [TRACE]
 *
 * SCHEME is grpc, grpcs (TLS), or http: GETs over HTTP/2, which succeed with :status 200.
 * RATE 0: the maximum rate (closed loop). Otherwise RATE calls per second are due, evenly spaced, and the latency of a
 * call starts when it was due, so that a stall counts for every call that falls into it. The warm-up lasts WARMUP seconds,
 * and at least until CALLS calls were sent. Then the line "measuring" is printed; the measurement ends after SECONDS or
 * at SIGTERM with one line of JSON: latencies in ns, "busy" the CPU utilization of this process.
 * TRACE is a file to which a struct record is written for every call from the start, including calls without an answer at
 * the end or when the server closes a connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD = 64,             /* bytes kept of an answer: the gRPC prefix and a complete message of usual size */
    OUT = 256 * 1024,      /* bytes buffered for one write */
    MOST_STATUS = 16,      /* largest gRPC status */
    NO_STATUS = 17,        /* the call ended without a status */
    SILENCE_MS = 10000     /* maximum time without any answer */
};

struct frame { const uint8_t *data; size_t size; };

/* A record of TRACE: times in ns of CLOCK_MONOTONIC, done 0 without an answer; the index of the request; the answer. */
struct record { uint64_t due, sent, done; uint32_t frame; uint8_t status, size, unused[2], head[HEAD]; };

struct call {
    struct connection *connection;
    const struct frame *frame;
    size_t sent;
    uint64_t due, started;
    int busy, http_ok, status;
    size_t received;
    uint8_t head[HEAD];
    struct call *next_free;
};

struct connection {
    int fd, blocked;
    SSL *tls;
    nghttp2_session *session;
    struct call *free, *calls;
    uint8_t *out;
    size_t out_length, out_sent;
};

static struct { const char *host, *port, *path, *authority; int connections, streams, tls, grpc; size_t calls; double seconds, warmup, rate; } options;
static struct frame *frames;
static size_t frame_count, next_frame, sent_calls;
static struct { size_t count, answer_bytes; uint64_t statuses[NO_STATUS + 1], ok, over; } seen;
static uint64_t *latencies, last_answer;
static size_t latency_room;
static volatile sig_atomic_t stopped;
static FILE *trace;
static struct connection *connections;

static void record(const struct call *call, uint64_t done) {
    struct record record = {.due = call->due, .sent = call->started, .done = done, .frame = (uint32_t)(call->frame - frames),
                            .status = (uint8_t)(call->http_ok ? call->status : NO_STATUS)};
    record.size = (uint8_t)(call->received < HEAD ? call->received : HEAD);
    memcpy(record.head, call->head, HEAD);
    fwrite(&record, sizeof record, 1, trace);
}

static void record_unanswered(void) {
    for (int i = 0; i < options.connections; i++)
        for (int j = 0; connections[i].calls != NULL && j < options.streams; j++)
            if (connections[i].calls[j].busy) record(&connections[i].calls[j], 0);
    fclose(trace);
}

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocated(void *memory) {
    if (memory == NULL) die("out of memory");
    return memory;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void stop(int number) { (void)number; stopped = 1; }

/* ---- one call ---- */

static void count(const struct call *call) {
    int status = call->http_ok ? call->status : NO_STATUS;
    if (seen.count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 20;
        latencies = allocated(realloc(latencies, latency_room * sizeof *latencies));
    }
    last_answer = now();
    if (trace != NULL) record(call, last_answer);
    latencies[seen.count++] = last_answer - call->due;
    seen.statuses[status]++;
    seen.answer_bytes += call->received;
    if (status == 0 && call->received >= 7 && call->head[5] == 0x08) { /* field 1, overall_code */
        seen.ok += call->head[6] == 1;
        seen.over += call->head[6] == 2;
    }
}

static ssize_t read_frame(nghttp2_session *session, int32_t stream, uint8_t *into, size_t room, uint32_t *flags,
                          nghttp2_data_source *source, void *user) {
    struct call *call = source->ptr;
    size_t left = call->frame->size - call->sent, size = left < room ? left : room;
    (void)session, (void)stream, (void)user;
    memcpy(into, call->frame->data + call->sent, size);
    call->sent += size;
    if (size == left) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user) {
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    char text[4] = "";
    (void)flags, (void)user;
    if (call == NULL || value_size > 3) return 0;
    memcpy(text, value, value_size);
    if (name_size == 11 && memcmp(name, "grpc-status", 11) == 0) {
        int status = atoi(text);
        call->status = status >= 0 && status <= MOST_STATUS ? status : NO_STATUS;
    } else if (name_size == 7 && memcmp(name, ":status", 7) == 0) {
        call->http_ok = memcmp(text, "200", 4) == 0;
        if (!options.grpc) call->status = 0;
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size, void *user) {
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)flags, (void)user;
    if (call == NULL) return 0;
    for (size_t i = 0; i < size && call->received + i < HEAD; i++) call->head[call->received + i] = data[i];
    call->received += size;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)user;
    if (call == NULL) return 0;
    if (error != NGHTTP2_NO_ERROR) call->status = NO_STATUS;
    count(call);
    call->busy = 0;
    call->next_free = call->connection->free;
    call->connection->free = call;
    return 0;
}

static void start(struct connection *connection, uint64_t due) {
#define HEADER(name, value) {(uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), \
    NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}
    const nghttp2_nv headers[] = {
        HEADER(":method", options.grpc ? "POST" : "GET"), HEADER(":scheme", options.tls ? "https" : "http"), HEADER(":path", options.path),
        HEADER(":authority", options.authority), HEADER("content-type", "application/grpc"), HEADER("te", "trailers"),
    };
    size_t count_of = sizeof headers / sizeof *headers - (options.grpc ? 0 : 2); /* without the two headers of gRPC */
    struct call *call = connection->free;
    nghttp2_data_provider provider = {{.ptr = call}, read_frame};
    connection->free = call->next_free;
    call->frame = &frames[next_frame];
    if (++next_frame == frame_count) next_frame = 0;
    sent_calls++;
    call->sent = call->received = 0;
    call->http_ok = 0;
    call->status = NO_STATUS;
    call->due = due;
    call->started = now();
    call->busy = 1;
    if (nghttp2_submit_request(connection->session, NULL, headers, count_of, options.grpc ? &provider : NULL, call) < 0)
        die("the connection takes no more calls");
}

/* ---- one connection ---- */

static ssize_t tls_result(SSL *tls, int result) {
    int error;
    if (result > 0) return result;
    error = SSL_get_error(tls, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) { errno = EAGAIN; return -1; }
    errno = EPROTO;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static void flush(struct connection *connection) {
    for (;;) {
        ssize_t sent;
        if (connection->out_sent == connection->out_length) {
            const uint8_t *chunk;
            ssize_t size = 0;
            connection->out_sent = connection->out_length = 0;
            while (connection->out_length + 32 * 1024 < OUT && (size = nghttp2_session_mem_send(connection->session, &chunk)) > 0) {
                memcpy(connection->out + connection->out_length, chunk, (size_t)size);
                connection->out_length += (size_t)size;
            }
            if (size < 0) die("HTTP/2: %s", nghttp2_strerror((int)size));
        }
        connection->blocked = 0;
        if (connection->out_length == 0) return;
        sent = connection->tls != NULL
            ? tls_result(connection->tls, SSL_write(connection->tls, connection->out + connection->out_sent,
                                                    (int)(connection->out_length - connection->out_sent)))
            : send(connection->fd, connection->out + connection->out_sent, connection->out_length - connection->out_sent, MSG_NOSIGNAL);
        if (sent <= 0) {
            if (sent < 0 && errno == EAGAIN) { connection->blocked = 1; return; }
            die("the server closed a connection while it was written to");
        }
        connection->out_sent += (size_t)sent;
    }
}

static void receive(struct connection *connection) {
    static uint8_t in[64 * 1024];
    for (;;) {
        ssize_t size = connection->tls != NULL ? tls_result(connection->tls, SSL_read(connection->tls, in, sizeof in))
                                               : recv(connection->fd, in, sizeof in, 0), taken;
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) die("the server closed a connection");
        taken = nghttp2_session_mem_recv(connection->session, in, (size_t)size);
        if (taken < 0) die("HTTP/2: %s", nghttp2_strerror((int)taken));
        if (connection->tls == NULL && (size_t)size < sizeof in) return;
    }
}

static int connected(void) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int fd, one = 1, error = getaddrinfo(options.host, options.port, &hints, &found);
    if (error != 0) die("%s: %s", options.host, gai_strerror(error));
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        die("cannot connect to %s:%s: %s", options.host, options.port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    freeaddrinfo(found);
    return fd;
}

static SSL *greeted(SSL_CTX *context, int fd) {
    SSL *tls = allocated(SSL_new(context));
    const unsigned char *protocol;
    unsigned int size;
    SSL_set_fd(tls, fd);
    if (SSL_connect(tls) != 1) die("TLS: %s", ERR_error_string(ERR_get_error(), NULL));
    SSL_get0_alpn_selected(tls, &protocol, &size);
    if (size != 2 || memcmp(protocol, "h2", 2) != 0) die("TLS: the server did not choose h2");
    return tls;
}

static void open_connection(struct connection *connection, nghttp2_session_callbacks *callbacks, SSL_CTX *context) {
    connection->fd = connected();
    if (context != NULL) connection->tls = greeted(context, connection->fd);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    connection->out = allocated(malloc(OUT));
    if (nghttp2_session_client_new(&connection->session, callbacks, connection) != 0) die("out of memory");
    nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, NULL, 0);
    connection->calls = allocated(calloc((size_t)options.streams, sizeof *connection->calls));
    for (int i = 0; i < options.streams; i++) {
        struct call *call = &connection->calls[i];
        call->connection = connection;
        call->next_free = connection->free;
        connection->free = call;
    }
}

/* ---- the load ---- */

static void read_frames(const char *file) {
    FILE *stream = fopen(file, "rb");
    uint8_t *data;
    long size;
    if (stream == NULL || fseek(stream, 0, SEEK_END) != 0) die("%s: %s", file, strerror(errno));
    size = ftell(stream);
    rewind(stream);
    data = allocated(malloc((size_t)size + 1));
    if (fread(data, 1, (size_t)size, stream) != (size_t)size) die("%s: cannot be read", file);
    fclose(stream);
    for (long at = 0, room = 0; at + 5 <= size; frame_count++) {
        uint32_t length = (uint32_t)data[at + 1] << 24 | (uint32_t)data[at + 2] << 16 | (uint32_t)data[at + 3] << 8 | data[at + 4];
        if ((long)length > size - at - 5) die("%s: the last request is cut short", file);
        if ((long)frame_count == room) {
            room = room ? room * 2 : 1024;
            frames = allocated(realloc(frames, (size_t)room * sizeof *frames));
        }
        frames[frame_count] = (struct frame){data + at, length + 5};
        at += (long)length + 5;
    }
    if (frame_count == 0) die("%s: no request in it", file);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static unsigned long long part(double share) {
    return seen.count == 0 ? 0 : latencies[(size_t)(share * (double)(seen.count - 1) + 0.5)];
}

static void report(double seconds, double computed) {
    size_t failed = seen.count - seen.statuses[0];
    qsort(latencies, seen.count, sizeof *latencies, ascending);
    printf("{\"seconds\": %.6f, \"calls\": %zu, \"failed\": %zu, \"ok\": %llu, \"over_limit\": %llu, \"answer_bytes\": %.1f, \"busy\": %.3f, "
           "\"p50\": %llu, \"p90\": %llu, \"p99\": %llu, \"p999\": %llu, \"max\": %llu, \"statuses\": {",
           seconds, seen.count, failed, (unsigned long long)seen.ok, (unsigned long long)seen.over,
           seen.count ? (double)seen.answer_bytes / (double)seen.count : 0.0, computed / seconds,
           part(0.5), part(0.9), part(0.99), part(0.999), part(1.0));
    for (int i = 0, first = 1; i <= NO_STATUS; i++)
        if (seen.statuses[i]) first = (printf("%s\"%d\": %llu", first ? "" : ", ", i, (unsigned long long)seen.statuses[i]), 0);
    printf("}}\n");
    fflush(stdout);
}

/* Start every call that may start now; with a rate, return the due time of the next one. */
static uint64_t start_calls(uint64_t due, uint64_t interval) {
    static int turn;
    for (int idle = 0; idle < options.connections; turn = (turn + 1) % options.connections) {
        struct connection *connection = &connections[turn];
        uint64_t time = now();
        if (interval != 0 && due > time) break;
        if (connection->free == NULL) { idle++; continue; }
        idle = 0;
        start(connection, interval != 0 ? due : time);
        due += interval;
    }
    return due;
}

static void set_timer(int timer, uint64_t due) {
    struct itimerspec spec = {.it_value = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void drive(int poll, int timer) {
    uint64_t interval = options.rate > 0 ? (uint64_t)(1e9 / options.rate) : 0, due = now(), began = due, measured = 0;
    static int watching[4096];
    double used = 0;
    struct epoll_event events[256];
    last_answer = began;
    for (;;) {
        uint64_t time;
        int ready;
        due = start_calls(due, interval);
        if (interval != 0 && due > now()) set_timer(timer, due); /* otherwise it waits for a free stream */
        for (int i = 0; i < options.connections; i++)
            if (!connections[i].blocked) flush(&connections[i]);
        for (int i = 0; i < options.connections; i++) {
            struct epoll_event event = {.events = EPOLLIN | (connections[i].blocked ? EPOLLOUT : 0), .data.ptr = &connections[i]};
            if (watching[i] != (int)event.events) {
                epoll_ctl(poll, watching[i] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, connections[i].fd, &event);
                watching[i] = (int)event.events;
            }
        }
        ready = epoll_wait(poll, events, 256, SILENCE_MS);
        if (now() - last_answer > SILENCE_MS * 1000000ull) die("no answer for %d s", SILENCE_MS / 1000);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) continue; /* the timer, which is rearmed above */
            if (events[i].events & EPOLLOUT) flush(connection);
            if (events[i].events & ~(uint32_t)EPOLLOUT) receive(connection);
        }
        time = now();
        if (measured == 0 && (double)(time - began) / 1e9 >= options.warmup && sent_calls >= options.calls) {
            memset(&seen, 0, sizeof seen);
            printf("measuring\n");
            fflush(stdout);
            measured = time;
            used = cpu();
        } else if (measured != 0 && (stopped || (double)(time - measured) / 1e9 >= options.seconds)) {
            report((double)(time - measured) / 1e9, cpu() - used);
            return;
        }
    }
}

int main(int count_of, char **words) {
    nghttp2_session_callbacks *callbacks;
    SSL_CTX *context = NULL;
    char authority[256];
    int poll, timer;
    if (count_of != 12 && count_of != 13) die("usage: load HOST PORT PATH FRAMES CONNECTIONS STREAMS SECONDS WARMUP CALLS RATE SCHEME [TRACE]");
    options.host = words[1], options.port = words[2], options.path = words[3];
    snprintf(authority, sizeof authority, "%s:%s", options.host, options.port);
    options.authority = authority;
    read_frames(words[4]);
    options.connections = atoi(words[5]), options.streams = atoi(words[6]);
    options.seconds = atof(words[7]), options.warmup = atof(words[8]), options.calls = strtoul(words[9], NULL, 10);
    options.rate = atof(words[10]), options.tls = strcmp(words[11], "grpcs") == 0;
    options.grpc = options.tls || strcmp(words[11], "grpc") == 0;
    if (options.connections < 1 || options.connections > 4096 || options.streams < 1) die("1 to 4096 connections, at least 1 stream");
    signal(SIGTERM, stop);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (options.tls) {
        context = allocated(SSL_CTX_new(TLS_client_method()));
        SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\2h2", 3);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    connections = allocated(calloc((size_t)options.connections, sizeof *connections));
    for (int i = 0; i < options.connections; i++) open_connection(&connections[i], callbacks, context);
    if (count_of == 13) {
        trace = fopen(words[12], "wb");
        if (trace == NULL) die("%s: %s", words[12], strerror(errno));
        atexit(record_unanswered);
    }
    poll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);
    drive(poll, timer);
    return 0;
}
