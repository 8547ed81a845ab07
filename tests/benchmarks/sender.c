/* Sends prepared HTTP requests over keep-alive connections and times the answers.
 *
 *     sender PORT CONNECTIONS REQUESTS OUTCOMES START_US
 *
 * REQUESTS is a file of records, each a 64-bit microsecond at which the request is due, counted
 * from START_US (Unix time), a 32-bit length, and the request's bytes. A due time of -1 means "as
 * soon as a connection is free". One request at a time on a connection; a request that finds none
 * free waits its turn, and its latency still counts from the moment it was due, so a server that
 * stalls cannot hide the requests it held up.
 *
 * OUTCOMES gets a record for each request, in their order: 32-bit latency in microseconds, 16-bit
 * HTTP status (0: no answer), 16-bit number of the error code, 64-bit time of the answer in
 * microseconds from START_US. What was counted goes to standard output as one JSON object.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 65536, EVENTS = 512, CODES = 256, CODE_BYTES = 48 };
static const int64_t PATIENCE_US = 10000000; /* after the last request was due */
static const int64_t NAP_US = 1000; /* sending what fell due meanwhile saves a wake-up each */

struct request {
    int64_t due_us;
    uint32_t length;
    const char *bytes;
};

struct outcome {
    uint32_t latency_us;
    uint16_t status;
    uint16_t code;
    int64_t answered_us;
};

struct connection {
    int fd;
    long request; /* -1: free */
    size_t sent;
    size_t got;
    char answer[ANSWER_BYTES + 1];
};

static struct request *requests;
static struct outcome *outcomes;
static struct connection *connections;
static long count, next_request, answered, broken;
static int *free_ring, free_first, free_count, size, poll_fd, port;
static int64_t start_us;
static char codes[CODES][CODE_BYTES] = {""};
static int code_count = 1;

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000 - start_us;
}

static void read_requests(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        die(path);
    char *start = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (start == MAP_FAILED)
        die(path);
    char *end = start + status.st_size;
    long room = 0;
    for (char *at = start; at < end; count++) {
        if (count == room) {
            room = room ? room * 2 : 1024;
            requests = realloc(requests, room * sizeof *requests);
            if (!requests)
                die("realloc");
        }
        struct request *request = &requests[count];
        memcpy(&request->due_us, at, 8);
        memcpy(&request->length, at + 8, 4);
        request->bytes = at + 12;
        at += 12 + request->length;
    }
    outcomes = calloc(count + 1, sizeof *outcomes);
    if (!outcomes)
        die("calloc");
}

static void watch(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poll_fd, operation, connection->fd, &event) < 0)
        die("epoll_ctl");
}

static void open_connection(struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->fd < 0 || connect(connection->fd, (void *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    connection->request = -1;
    watch(connection, EPOLL_CTL_ADD, EPOLLIN);
}

/* In turn, so that every server process behind the port gets its share. */
static void give_back(struct connection *connection)
{
    connection->request = -1;
    free_ring[(free_first + free_count++) % size] = (int)(connection - connections);
}

static void finish(struct connection *connection, int status, int code)
{
    long number = connection->request;
    int64_t now = now_us();
    outcomes[number].latency_us = (uint32_t)(now - requests[number].due_us);
    outcomes[number].status = (uint16_t)status;
    outcomes[number].code = (uint16_t)code;
    outcomes[number].answered_us = now;
    give_back(connection);
    answered++;
}

static void reopen(struct connection *connection)
{
    close(connection->fd);
    broken++;
    open_connection(connection);
}

static void lose(struct connection *connection)
{
    int had_request = connection->request >= 0;
    if (had_request)
        finish(connection, 0, 0);
    reopen(connection);
}

static void push(struct connection *connection)
{
    struct request *request = &requests[connection->request];
    while (connection->sent < request->length) {
        ssize_t wrote = send(connection->fd, request->bytes + connection->sent,
                             request->length - connection->sent, MSG_NOSIGNAL);
        if (wrote < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (wrote < 0) {
            lose(connection);
            return;
        }
        connection->sent += wrote;
    }
}

static void send_due(void)
{
    int64_t now = now_us();
    while (free_count && next_request < count && requests[next_request].due_us <= now) {
        struct connection *connection = &connections[free_ring[free_first]];
        free_first = (free_first + 1) % size;
        free_count--;
        if (requests[next_request].due_us < 0)
            requests[next_request].due_us = now;
        connection->request = next_request++;
        connection->sent = connection->got = 0;
        push(connection);
    }
}

static int code_of(const char *body)
{
    const char *at = strstr(body, "\"error\":\"");
    if (!at)
        return 0;
    at += 9;
    size_t length = strcspn(at, "\"");
    if (length >= CODE_BYTES)
        return 0;
    for (int known = 1; known < code_count; known++)
        if (strlen(codes[known]) == length && !strncmp(codes[known], at, length))
            return known;
    if (code_count == CODES)
        return 0;
    memcpy(codes[code_count], at, length);
    return code_count++;
}

static void pull(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->answer + connection->got,
                       ANSWER_BYTES - connection->got, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (got <= 0 || connection->request < 0) {
        lose(connection);
        return;
    }
    connection->got += got;
    connection->answer[connection->got] = 0;
    char *body = strstr(connection->answer, "\r\n\r\n");
    char *length = body ? strcasestr(connection->answer, "\r\ncontent-length:") : NULL;
    if (length && connection->got >= (size_t)(body + 4 - connection->answer) + atol(length + 17)) {
        int status = atoi(connection->answer + 9);
        finish(connection, status, status < 400 ? 0 : code_of(body));
    } else if (connection->got == ANSWER_BYTES) {
        lose(connection); /* an answer this long is none that we know */
    }
}

static void wait_for_events(int64_t until_us)
{
    struct epoll_event events[EVENTS];
    int64_t wait_us = until_us - now_us();
    if (wait_us < 0)
        wait_us = 0;
    struct timespec wait = {wait_us / 1000000, wait_us % 1000000 * 1000};
    int ready = epoll_pwait2(poll_fd, events, EVENTS, &wait, NULL);
    for (int number = 0; number < ready; number++) {
        struct connection *connection = events[number].data.ptr;
        if (events[number].events & EPOLLOUT && connection->request >= 0) {
            watch(connection, EPOLL_CTL_MOD, EPOLLIN);
            push(connection);
        }
        if (events[number].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            pull(connection);
    }
}

static void run(void)
{
    int64_t last_due_us = 0;
    for (long number = 0; number < count; number++)
        if (requests[number].due_us > last_due_us)
            last_due_us = requests[number].due_us;
    int64_t last_progress_us = now_us();
    long seen = -1;
    while (answered < count) {
        send_due();
        int64_t now = now_us();
        if (answered != seen || now < last_due_us) {
            seen = answered;
            last_progress_us = now;
        } else if (now - last_progress_us > PATIENCE_US) {
            return;
        }
        int64_t until_us = now + 100000;
        if (free_count && next_request < count && requests[next_request].due_us < until_us)
            until_us = requests[next_request].due_us + NAP_US;
        wait_for_events(until_us);
    }
}

static void report(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"requests\":%ld,\"sent\":%ld,\"answered\":%ld,\"broken\":%ld,\"cpu_s\":%.3f,\"codes\":[\"\"",
           count, next_request, answered, broken,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec +
               (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    for (int code = 1; code < code_count; code++)
        printf(",\"%s\"", codes[code]);
    printf("]}\n");
}

static void write_outcomes(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(outcomes, sizeof *outcomes, count, file) != (size_t)count || fclose(file))
        die(path);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: sender PORT CONNECTIONS REQUESTS OUTCOMES START_US\n");
        return 2;
    }
    port = atoi(argv[1]);
    size = atoi(argv[2]);
    read_requests(argv[3]);
    poll_fd = epoll_create1(0);
    connections = calloc(size, sizeof *connections);
    free_ring = calloc(size, sizeof *free_ring);
    if (!connections || !free_ring)
        die("calloc");
    start_us = atoll(argv[5]);
    for (int number = 0; number < size; number++) {
        open_connection(&connections[number]);
        give_back(&connections[number]);
    }
    run();
    write_outcomes(argv[4]);
    report();
    return 0;
}
