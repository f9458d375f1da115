/* Faults in file operations, for `cargo xtask crash`: a library to be preloaded on Linux.
 *
 * Counts calls that touch paths under FI_ROOT: open for writing, write, fsync, rename, unlink, mkdir. At call FI_N it does
 * what FI_MODE says: `kill` (SIGKILL before the call), `killafter`, `partial` (half of the bytes, then SIGKILL), or a
 * number, which is the error the call fails with (with FI_STICKY all later ones too). FI_LOG names a file that receives
 * one line a call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GO_ON, FAIL, AFTER, PARTIAL };

static long count, target = -1;
static int ready, sticky, log_fd = -1;
static const char *root, *mode;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = dlsym(RTLD_NEXT, #name)

static void prepare(void) {
    if (ready) return;
    ready = 1;
    root = getenv("FI_ROOT");
    mode = getenv("FI_MODE");
    if (!mode) mode = "log";
    const char *n = getenv("FI_N"), *log = getenv("FI_LOG");
    if (n) target = atol(n);
    sticky = getenv("FI_STICKY") != NULL;
    if (log) {
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
        log_fd = fcntl(real_open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644), F_DUPFD_CLOEXEC, 900);
    }
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int act(const char *op, const char *path) {
    prepare();
    if (!root || strncmp(path, root, strlen(root))) return GO_ON;
    long n = __sync_add_and_fetch(&count, 1);
    if (log_fd >= 0) dprintf(log_fd, "%ld %s %s\n", n, op, path + strlen(root));
    if (!(n == target || (sticky && target > 0 && n >= target)) || !strcmp(mode, "log")) return GO_ON;
    if (!strcmp(mode, "kill")) die();
    if (!strcmp(mode, "killafter")) return AFTER;
    if (!strcmp(mode, "partial")) return PARTIAL;
    errno = atoi(mode);
    return FAIL;
}

static const char *path_of(int fd) {
    static __thread char text[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, text, sizeof text - 1);
    text[length < 0 ? 0 : length] = 0;
    return text;
}

static const char *absolute(const char *path) {
    static __thread char text[8192];
    char here[4096];
    if (path[0] == '/' || !getcwd(here, sizeof here)) return path;
    snprintf(text, sizeof text, "%s/%s", here, path);
    return text;
}

#define RETURN(result) \
    do { \
        if (what == AFTER || what == PARTIAL) die(); \
        return result; \
    } while (0)

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

#define OPEN(name, PARAMETERS, ARGUMENTS) \
    int name PARAMETERS { \
        REAL(name); \
        mode_t bits = 0; \
        if (flags & O_CREAT) { \
            va_list list; \
            va_start(list, flags); \
            bits = va_arg(list, int); \
            va_end(list); \
        } \
        int what = writes(flags) ? act("open", absolute(path)) : GO_ON; \
        if (what == FAIL) return -1; \
        int result = real ARGUMENTS; \
        RETURN(result); \
    }
OPEN(open, (const char *path, int flags, ...), (path, flags, bits))
OPEN(open64, (const char *path, int flags, ...), (path, flags, bits))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, bits))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, bits))

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    int what = act("write", path_of(fd));
    if (what == FAIL) return -1;
    ssize_t result = real(fd, bytes, what == PARTIAL ? (length + 1) / 2 : length);
    RETURN(result);
}

ssize_t writev(int fd, const struct iovec *parts, int length) {
    REAL(writev);
    int what = act("write", path_of(fd));
    if (what == FAIL) return -1;
    ssize_t result = real(fd, parts, length);
    RETURN(result);
}

#define CALL(name, op, PATH, PARAMETERS, ARGUMENTS) \
    int name PARAMETERS { \
        REAL(name); \
        int what = act(op, PATH); \
        if (what == FAIL) return -1; \
        int result = real ARGUMENTS; \
        RETURN(result); \
    }
CALL(fsync, "fsync", path_of(fd), (int fd), (fd))
CALL(fdatasync, "fsync", path_of(fd), (int fd), (fd))
CALL(rename, "rename", absolute(to), (const char *from, const char *to), (from, to))
CALL(unlink, "unlink", absolute(path), (const char *path), (path))
CALL(mkdir, "mkdir", absolute(path), (const char *path, mode_t bits), (path, bits))
