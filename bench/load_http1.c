/* A load generator for one core: GETs over c connections of HTTP/1.1, with one request in flight on each.
 *
 * A file contains the head of the requests; each run of '#' in it is a number of as many digits that grows with each
 * request, so that no two heads are equal. Usage:
 *
 *   load_http1 HOST PORT HEAD BODY CONNECTIONS SECONDS WARMUP
 *
 * The warm-up lasts WARMUP seconds. Then the line "measuring" is printed, and SECONDS later one line of JSON: latencies in
 * ns, "busy" the CPU utilization of this process. A response fails unless it has status 200 and a Content-Length of BODY.
 * "worst_p99" is the highest p99 of one connection; "slow_share" the part that three connections, those with most, have of
 * the slowest hundredth of all requests: 3 / c where all connections are served alike.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_CONNECTIONS = 1024,
    IN = 16 * 1024,        /* bytes of a response's head, at most */
    OUT = 16 * 1024,       /* bytes of a request's head, at most */
    SLOWEST = 3,           /* connections whose share of the slow requests is reported */
    SILENCE_MS = 10000     /* maximum time without any response */
};

struct connection {
    int fd;
    uint64_t began;
    size_t held, body;     /* bytes of the head that are held; of the body that are to come */
    int in_body, ok;
    char in[IN + 1];
};

/* A latency, and the connection in its low bits: sorted, all requests are in the order of their latency. */
static uint64_t *taken;
static size_t count, room, failed, status_other, body_size;
static struct connection *connections;
static char head[OUT + 1];
static size_t head_size;
static int number_of;
static uint64_t sequence;

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

/* ---- one request ---- */

static void number(char *text) {
    uint64_t left = sequence++;
    int marked = 0;
    for (size_t at = head_size; at-- > 0;) {
        if (head[at] != '#') {
            if (marked) left = sequence - 1;
            marked = 0;
        } else {
            marked = 1;
            text[at] = (char)('0' + left % 10);
            left /= 10;
        }
    }
}

static void ask(struct connection *connection) {
    char text[OUT];
    memcpy(text, head, head_size);
    number(text);
    connection->held = connection->body = 0;
    connection->in_body = 0;
    connection->began = now();
    if (send(connection->fd, text, head_size, MSG_NOSIGNAL) != (ssize_t)head_size) die("a request could not be sent at once: %s", strerror(errno));
}

static void finished(struct connection *connection) {
    if (count == room) {
        room = room ? room * 2 : 1 << 20;
        taken = allocated(realloc(taken, room * sizeof *taken));
    }
    taken[count++] = (now() - connection->began) << 10 | (uint64_t)(connection - connections);
    failed += !connection->ok;
    ask(connection);
}

/* Read what the head says of its body. Returns the bytes of the body that came with it, or -1 while it is incomplete. */
static ssize_t read_head(struct connection *connection) {
    char *end, *length;
    connection->in[connection->held] = 0;
    end = strstr(connection->in, "\r\n\r\n");
    if (end == NULL) {
        if (connection->held == IN) die("the head of a response is longer than %d bytes", IN);
        return -1;
    }
    end[2] = 0;
    length = strcasestr(connection->in, "\r\ncontent-length:");
    if (length == NULL) die("a response has no Content-Length:\n%s", connection->in);
    connection->body = strtoul(length + 17, NULL, 10);
    connection->ok = strncmp(connection->in, "HTTP/1.1 200 ", 13) == 0 && connection->body == body_size;
    if (!connection->ok && status_other == 0) status_other = (size_t)atoi(connection->in + 9);
    connection->in_body = 1;
    return connection->in + connection->held - (end + 4);
}

static void receive(struct connection *connection) {
    static char body[64 * 1024];
    for (;;) {
        ssize_t size = connection->in_body ? recv(connection->fd, body, sizeof body, 0)
                                           : recv(connection->fd, connection->in + connection->held, IN - connection->held, 0);
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) die("the server closed a connection");
        if (!connection->in_body) {
            connection->held += (size_t)size;
            size = read_head(connection);
            if (size < 0) continue;
        }
        if ((size_t)size > connection->body) die("a response is longer than its Content-Length");
        connection->body -= (size_t)size;
        if (connection->body == 0) {
            finished(connection);
            return;
        }
    }
}

/* ---- the load ---- */

static int connected(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int fd, one = 1, error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) die("%s: %s", host, gai_strerror(error));
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) die("cannot connect to %s:%s: %s", host, port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    freeaddrinfo(found);
    return fd;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int descending(const void *a, const void *b) { return ascending(b, a); }

static uint64_t latency(size_t at) { return taken[at] >> 10; }

/* The place of a percentile by nearest rank: so the worst p99 of a connection is never below that of all. */
static size_t place(size_t percent, size_t of) { return (of * percent + 99) / 100 - 1; }

/* The highest p99 of one connection; ``taken`` is sorted, so that a connection's requests come in order too. */
static uint64_t worst_p99(const uint64_t *had) {
    uint64_t *seen = allocated(calloc(MOST_CONNECTIONS, sizeof *seen)), worst = 0;
    for (size_t i = 0; i < count; i++) {
        size_t of = taken[i] % MOST_CONNECTIONS;
        if (seen[of]++ == place(99, had[of]) && latency(i) > worst) worst = latency(i);
    }
    free(seen);
    return worst;
}

static double slow_share(void) {
    uint64_t slow[MOST_CONNECTIONS] = {0}, most = 0;
    size_t first = count - (count + 99) / 100;
    for (size_t i = first; i < count; i++) slow[taken[i] % MOST_CONNECTIONS]++;
    qsort(slow, MOST_CONNECTIONS, sizeof *slow, descending);
    for (int i = 0; i < SLOWEST; i++) most += slow[i];
    return (double)most / (double)(count - first);
}

static void report(double seconds, double computed) {
    uint64_t had[MOST_CONNECTIONS] = {0}, fewest;
    if (count == 0) die("no response came");
    qsort(taken, count, sizeof *taken, ascending);
    for (size_t i = 0; i < count; i++) had[taken[i] % MOST_CONNECTIONS]++;
    fewest = had[0];
    for (int i = 0; i < number_of; i++) if (had[i] < fewest) fewest = had[i];
    printf("{\"seconds\": %.6f, \"requests\": %zu, \"failed\": %zu, \"status\": %zu, \"busy\": %.3f, \"p50\": %llu, \"p99\": %llu, "
           "\"max\": %llu, \"worst_p99\": %llu, \"slow_share\": %.4f, \"fewest\": %llu}\n",
           seconds, count, failed, status_other, computed / seconds, (unsigned long long)latency(place(50, count)),
           (unsigned long long)latency(place(99, count)), (unsigned long long)latency(count - 1),
           (unsigned long long)worst_p99(had), slow_share(), (unsigned long long)fewest);
}

static void drive(int poll, double seconds, double warmup) {
    uint64_t began = now(), measured = 0, time;
    double used = 0;
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poll, events, 256, SILENCE_MS);
        if (ready == 0) die("no response for %d s", SILENCE_MS / 1000);
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
        time = now();
        if (measured == 0 && (double)(time - began) / 1e9 >= warmup) {
            if (failed) die("%zu responses of the warm-up failed, one with status %zu: 200 and %zu bytes are right", failed, status_other, body_size);
            count = 0;
            printf("measuring\n");
            fflush(stdout);
            measured = now();
            used = cpu();
        } else if (measured != 0 && (double)(time - measured) / 1e9 >= seconds) {
            report((double)(time - measured) / 1e9, cpu() - used);
            return;
        }
    }
}

int main(int count_of, char **words) {
    FILE *file;
    int poll = epoll_create1(0);
    if (count_of != 8) die("usage: load_http1 HOST PORT HEAD BODY CONNECTIONS SECONDS WARMUP");
    file = fopen(words[3], "rb");
    if (file == NULL) die("%s: %s", words[3], strerror(errno));
    head_size = fread(head, 1, OUT, file);
    fclose(file);
    if (head_size < 4 || memcmp(head + head_size - 4, "\r\n\r\n", 4) != 0) die("%s: not a complete head", words[3]);
    body_size = strtoul(words[4], NULL, 10);
    number_of = atoi(words[5]);
    if (number_of < 1 || number_of > MOST_CONNECTIONS) die("1 to %d connections", MOST_CONNECTIONS);
    connections = allocated(calloc((size_t)number_of, sizeof *connections));
    for (int i = 0; i < number_of; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = connected(words[1], words[2]);
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event);
    }
    for (int i = 0; i < number_of; i++) ask(&connections[i]);
    drive(poll, atof(words[6]), atof(words[7]));
    return 0;
}
