/* Opens thousands of WebSocket connections at once, listens, and times what comes.
 *
 *     listener PORT CONNECTIONS SECONDS CHANNELS
 *
 * CHANNELS is the list in the subscription, such as "price","grid". All connections are begun
 * together, as after a server's restart. When each has its subscription (or 30 s later), one line of JSON says how
 * long that took; a second later SECONDS are measured, and another line says what came: the latency
 * of every price.tick (from the 100 ms mark in its `at` to its arrival here), frames, bytes, holes
 * in `seq`, ticks that were conflated, connections that ended, and this program's processor share.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, EVENTS = 1024, BUCKETS = 1000000, BUCKET_US = 10, AT_BYTES = 20 };
static const int64_t CONNECT_PATIENCE_US = 30000000, SETTLE_US = 1000000;
static const useconds_t LOOK_EVERY_US = 500;

struct connection {
    int fd;
    int upgraded, subscribed;
    uint64_t seq;
    size_t got;
    int64_t subscribed_us;
    char *buffer;
};

static struct connection *connections;
static long count, subscribed, ended, holes;
static long frames, ticks, distinct, bytes;
static int64_t started_us, newest_at_us;
static uint32_t latencies[BUCKETS + 1];
static int64_t latest_us;
static int64_t from_us, to_us; /* ticks of these times are measured */
static char upgrade[512], subscription[512];
static size_t upgrade_bytes, subscription_bytes;
static char known_at[32];
static int64_t known_at_us;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Client frames are masked; a mask of zeros leaves them as they are. */
static size_t masked(char *to, int opcode, const char *text, size_t length) {
    to[0] = (char)(0x80 | opcode);
    to[1] = (char)(0x80 | length);
    memset(to + 2, 0, 4);
    memcpy(to + 6, text, length);
    return length + 6;
}

static void end(struct connection *one) {
    if (one->fd >= 0) {
        close(one->fd);
        one->fd = -1;
        ended++;
    }
}

static void put(struct connection *one, const char *text, size_t length) {
    if (send(one->fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) end(one);
}

static void begin(struct connection *one, int port, int poll) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (one->fd < 0) fail("socket");
    int yes = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(one->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        fail("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = one};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, one->fd, &event) < 0) fail("epoll_ctl");
}

static int measured(int64_t us) { return us >= from_us && us < to_us; }

/* All connections see the same few times: each is parsed once. */
static int64_t at_us(const char *text) {
    if (memcmp(text, known_at, AT_BYTES + 3) != 0) {
        struct tm parts = {0};
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S.", &parts);
        if (rest == NULL) return 0;
        memcpy(known_at, text, AT_BYTES + 3);
        known_at_us = (int64_t)timegm(&parts) * 1000000 + atoi(rest) * 1000;
        if (known_at_us > newest_at_us) {
            newest_at_us = known_at_us;
            if (measured(known_at_us)) distinct++;
        }
    }
    return known_at_us;
}

static void tick(const char *text, size_t length, int64_t arrived_us) {
    const char *at = memmem(text, length, "\"at\":\"", 6);
    if (at == NULL || at + 6 + AT_BYTES + 4 > text + length) return;
    int64_t marked_us = at_us(at + 6);
    if (!measured(marked_us)) return;
    int64_t late_us = arrived_us > marked_us ? arrived_us - marked_us : 0;
    ticks++;
    if (late_us > latest_us) latest_us = late_us;
    latencies[late_us / BUCKET_US < BUCKETS ? late_us / BUCKET_US : BUCKETS]++;
}

static void text_frame(struct connection *one, const char *text, size_t length, int64_t at) {
    char *rest;
    if (length < 20 || memcmp(text, "{\"seq\":", 7) != 0) {
        holes++;
        return;
    }
    uint64_t seq = strtoull(text + 7, &rest, 10);
    if (seq != ++one->seq) {
        holes++;
        one->seq = seq;
    }
    if (memcmp(rest, ",\"type\":\"price.tick\"", 20) == 0) {
        tick(text, length, at);
    } else if (!one->subscribed && memcmp(rest, ",\"type\":\"subscribed\"", 20) == 0) {
        one->subscribed = 1;
        one->subscribed_us = at - started_us;
        subscribed++;
    }
}

/* Returns the bytes taken: 0 when the frame is not whole yet. */
static size_t frame(struct connection *one, char *from, size_t length, int64_t at) {
    if (length < 2) return 0;
    size_t head = 2, size = (unsigned char)from[1];
    if (size == 126) {
        if (length < 4) return 0;
        head = 4;
        size = ((size_t)(unsigned char)from[2] << 8) | (unsigned char)from[3];
    } else if (size == 127) {
        end(one); /* no frame of ours is that long */
        return 0;
    }
    if (length < head + size) return 0;
    int opcode = from[0] & 15;
    if (opcode == 1) {
        if (measured(at)) frames++;
        text_frame(one, from + head, size, at);
    } else if (opcode == 9) {
        char pong[160];
        put(one, pong, masked(pong, 10, from + head, size < 125 ? size : 125));
    } else if (opcode == 8) {
        end(one);
    }
    return head + size;
}

/* Returns 1 while there may be more: a read that leaves room has emptied the socket. */
static int take(struct connection *one) {
    size_t room = BUFFER_BYTES - one->got;
    ssize_t got = recv(one->fd, one->buffer + one->got, room, 0);
    int64_t at = now_us();
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) end(one);
        return 0;
    }
    if (measured(at)) bytes += got;
    one->got += (size_t)got;
    size_t used = 0, taken;
    if (!one->upgraded) {
        char *body = memmem(one->buffer, one->got, "\r\n\r\n", 4);
        if (body == NULL) return 0;
        if (memcmp(one->buffer, "HTTP/1.1 101", 12) != 0) {
            end(one);
            return 0;
        }
        one->upgraded = 1;
        used = (size_t)(body + 4 - one->buffer);
        put(one, subscription, subscription_bytes);
    }
    while (one->fd >= 0 && (taken = frame(one, one->buffer + used, one->got - used, at)) > 0)
        used += taken;
    one->got -= used;
    if (one->got > 0) memmove(one->buffer, one->buffer + used, one->got);
    return one->fd >= 0 && (size_t)got == room;
}

/* Looks now and then instead of waiting: to wake a sleeping neighbour for each frame would cost the
 * sender more than the frame, and from another machine a network card would bring many at once. */
static void serve(int poll) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poll, events, EVENTS, 0);
    if (ready < EVENTS) usleep(LOOK_EVERY_US);
    for (int i = 0; i < ready; i++) {
        struct connection *one = events[i].data.ptr;
        if (one->fd < 0) continue;
        if (events[i].events & EPOLLOUT) {
            struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = one};
            epoll_ctl(poll, EPOLL_CTL_MOD, one->fd, &event);
            put(one, upgrade, upgrade_bytes);
        } else {
            while (take(one)) continue;
        }
    }
}

static void serve_until(int poll, int64_t until_us) {
    while (now_us() < until_us) serve(poll);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void say_connected(void) {
    int64_t *times = calloc((size_t)count, sizeof *times);
    long have = 0;
    for (long i = 0; i < count; i++)
        if (connections[i].subscribed) times[have++] = connections[i].subscribed_us;
    qsort(times, (size_t)have, sizeof *times, by_size);
    printf("{\"connected\":%ld,\"ended\":%ld,\"p50_ms\":%.1f,\"p99_ms\":%.1f,\"max_ms\":%.1f}\n",
           subscribed, ended, have ? times[have / 2] / 1e3 : 0, have ? times[have * 99 / 100] / 1e3 : 0,
           have ? times[have - 1] / 1e3 : 0);
    fflush(stdout);
    free(times);
}

static double point_ms(double share) {
    long left = (long)((double)ticks * share);
    for (long i = 0; i <= BUCKETS; i++)
        if ((left -= latencies[i]) < 0) return (double)(i * BUCKET_US) / 1e3;
    return 0;
}

static double cpu_s(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int port = atoi(argv[1]);
    count = atol(argv[2]);
    double seconds = atof(argv[3]);
    upgrade_bytes = (size_t)snprintf(
        upgrade, sizeof upgrade,
        "GET /ws/v1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        port);
    char text[120];
    int length = snprintf(text, sizeof text, "{\"op\":\"subscribe\",\"channels\":[%s]}", argv[4]);
    if (length >= (int)sizeof text) return 2;
    subscription_bytes = masked(subscription, 1, text, (size_t)length);
    connections = calloc((size_t)count, sizeof *connections);
    int poll = epoll_create1(0);
    started_us = now_us();
    for (long i = 0; i < count; i++) {
        connections[i].buffer = malloc(BUFFER_BYTES);
        begin(&connections[i], port, poll);
    }
    while (subscribed + ended < count && now_us() < started_us + CONNECT_PATIENCE_US) serve(poll);
    say_connected();
    serve_until(poll, now_us() + SETTLE_US);
    double cpu_before = cpu_s();
    from_us = now_us();
    to_us = from_us + (int64_t)(seconds * 1e6);
    serve_until(poll, to_us);
    double cpu_share = (cpu_s() - cpu_before) / seconds;
    serve_until(poll, to_us + SETTLE_US); /* the last ticks may be late */
    printf("{\"ticks\":%ld,\"conflated\":%ld,\"frames\":%ld,\"bytes\":%ld,\"holes\":%ld,\"ended\":%ld,"
           "\"p50_ms\":%.2f,\"p95_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,"
           "\"cpu_share\":%.3f}\n",
           ticks, distinct * subscribed - ticks, frames, bytes, holes, ended, point_ms(0.5),
           point_ms(0.95), point_ms(0.99), (double)latest_us / 1e3, cpu_share);
    return 0;
}
