// Preloaded before libc: counts what a process writes to files whose path holds a pattern, and at
// one such call kills it, tears the write, or fails as a disk does. Armed and read through a
// control file that is mapped, so that whoever drives it need not talk to the process.
//
// CRASH_CONTROL: the file. CRASH_PATTERN: part of the paths. CRASH_ONLY: words that the command
// line must hold, or the process is left alone.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum action { KILL_BEFORE = 1, KILL_AFTER, TORN, FAIL_IO, FAIL_FULL };

struct control {
    long countdown; // the call that it happens at; 0: none
    long action;
    long times; // calls that fail, one after another
    long calls; // counted so far
    long fired; // how often it happened
};

#define FILES 4096
static struct control *control;
static const char *pattern;
static char watched[FILES];
static long failing;
static long failing_with;

static int holds(const char *words) {
    char line[4096];
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, line, sizeof line - 1);
    if (file >= 0) close(file);
    for (ssize_t at = 0; at < size; at++)
        if (line[at] == 0) line[at] = ' ';
    if (size < 0) return 0;
    line[size] = 0;
    return strstr(line, words) != NULL;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CRASH_CONTROL"), *only = getenv("CRASH_ONLY");
    pattern = getenv("CRASH_PATTERN");
    if (!path || !pattern || (only && *only && !holds(only))) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *found = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) control = found;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

// What is to happen at this call: 0, or an action. An errno is left in `failing_with`.
static long next_call(void) {
    if (!control) return 0;
    __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    if (failing > 0) {
        failing--;
        return failing_with;
    }
    if (control->countdown <= 0) return 0;
    if (__atomic_sub_fetch(&control->countdown, 1, __ATOMIC_SEQ_CST) != 0) return 0;
    control->fired++;
    long action = control->action;
    if (action >= FAIL_IO) {
        failing_with = action;
        failing = control->times - 1;
    }
    if (action == KILL_BEFORE) die();
    return action;
}

static int failed(long action) {
    if (action < FAIL_IO) return 0;
    errno = action == FAIL_IO ? EIO : ENOSPC;
    return 1;
}

static int is_watched(int file) {
    return control && file >= 0 && file < FILES && watched[file];
}

static void note(int file, const char *path) {
    if (control && file >= 0 && file < FILES) watched[file] = strstr(path, pattern) != NULL;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int file = real(path, flags, mode); \
        note(file, path); \
        return file; \
    }
OPEN(open)
OPEN(open64)

#define WRITE(name, type, parameters, half, whole) \
    type name parameters { \
        REAL(name); \
        if (!is_watched(file)) return whole; \
        long action = next_call(); \
        if (failed(action)) return -1; \
        if (action == TORN) { \
            if (half) {} \
            die(); \
        } \
        type done = whole; \
        if (action == KILL_AFTER) die(); \
        return done; \
    }
WRITE(write, ssize_t, (int file, const void *from, size_t size), real(file, from, size / 2),
      real(file, from, size))
WRITE(pwrite64, ssize_t, (int file, const void *from, size_t size, off64_t at),
      real(file, from, size / 2, at), real(file, from, size, at))
WRITE(fsync, int, (int file), 0, real(file))
WRITE(fdatasync, int, (int file), 0, real(file))
WRITE(ftruncate64, int, (int file, off64_t size), 0, real(file, size))

// Its number may be the next file's, or a pipe's.
int close(int file) {
    REAL(close);
    if (control && file >= 0 && file < FILES) watched[file] = 0;
    return real(file);
}

int unlink(const char *path) {
    REAL(unlink);
    if (!control || !strstr(path, pattern)) return real(path);
    long action = next_call();
    if (failed(action)) return -1;
    if (action == TORN) die();
    int done = real(path);
    if (action == KILL_AFTER) die();
    return done;
}
