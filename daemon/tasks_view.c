/* Fetching /-/tasks and drawing it, until somebody has seen enough. */
#include "daemon/tasks_view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/deadline.h"
#include "daemon/ask.h"
#include "daemon/tasks_report.h"

/* A screen of its own, without cursor, and without wrapping: a character may be wider than a column. */
#define SCREEN_ENTER "\033[?1049h\033[?25l\033[?7l"
#define SCREEN_LEAVE "\033[?7h\033[?25h\033[?1049l"
#define SCREEN_HOME  "\033[H"
#define LINE_REST    "\033[K"
#define SCREEN_REST  "\033[J"

/* --- where --- */

/* An address that accepts on every interface is reached on loopback. */
static const char *reachable_host(const char *host)
{
	if (strcmp(host, "0.0.0.0") == 0)
		return "127.0.0.1";
	return strcmp(host, "::") == 0 ? "::1" : host;
}

const char *tasks_view_address(struct config *c)
{
	const struct config_server *s = &c->server;
	const struct config_listen *last = &s->listen[s->listen_count - 1];
	const struct config_listen *l = last->admin ? last : &s->listen[0];
	if (l->path)
		return arena_printf(&c->arena, "unix:%s", l->path);
	if (l->systemd || l->port == 0)
		return NULL;
	const char *host = reachable_host(l->host);
	return arena_printf(&c->arena, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, l->port);
}

/* --- the terminal --- */

struct screen {
	bool drawn; /* the terminal is ours, to be given back */
	bool keys;  /* stdin, too */
	struct termios before;
	int signal_fd;
};

static struct tasks_report_size screen_size(void)
{
	struct winsize size;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row < 2 || size.ws_col == 0)
		return (struct tasks_report_size){.lines = 23, .columns = 80};
	return (struct tasks_report_size){.lines = size.ws_row - 1u, .columns = size.ws_col};
}

static bool write_all(const char *p, size_t n)
{
	while (n > 0) {
		ssize_t written = write(STDOUT_FILENO, p, n);
		if (written < 0 && errno != EINTR)
			return false;
		if (written > 0) {
			p += written;
			n -= (size_t)written;
		}
	}
	return true;
}

static bool write_text(const char *text)
{
	return write_all(text, strlen(text));
}

/* Keys come one by one and unseen; what would stop the process with the terminal in this state is off. */
static void take_keys(struct screen *s)
{
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &s->before) < 0)
		return;
	struct termios mine = s->before;
	mine.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	mine.c_cc[VSUSP] = _POSIX_VDISABLE;
	mine.c_cc[VMIN] = 0;
	mine.c_cc[VTIME] = 0;
	s->keys = tcsetattr(STDIN_FILENO, TCSANOW, &mine) == 0;
}

static bool screen_open(struct screen *s, bool draw)
{
	sigset_t set;
	*s = (struct screen){.drawn = draw};
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return false;
	if (draw) {
		take_keys(s);
		write_text(SCREEN_ENTER);
	}
	return true;
}

static void screen_close(struct screen *s)
{
	if (s->drawn)
		write_text(SCREEN_LEAVE);
	if (s->keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
	close(s->signal_fd);
}

/* Every line with its rest cleared, in one write: nothing flickers. */
static bool screen_draw(const struct buf *text)
{
	struct buf out = BUF_INIT;
	buf_lit(&out, SCREEN_HOME);
	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] == '\n')
			buf_lit(&out, LINE_REST "\r");
		buf_char(&out, text->data[i]);
	}
	buf_lit(&out, SCREEN_REST);
	bool written = write_all(out.data, out.len);
	buf_done(&out);
	return written;
}

/* Returns whether somebody wants the end. */
static bool read_key(void)
{
	char key;
	while (read(STDIN_FILENO, &key, 1) == 1)
		if (key == 'q' || key == 'Q')
			return true;
	return false;
}

/* Until `by`, or until the terminal has another size; looks at least once. Returns whether somebody wants the end. */
static bool wait_for_end(const struct screen *s, deadline_t by)
{
	struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
			       {.fd = s->keys ? STDIN_FILENO : -1, .events = POLLIN}};
	struct signalfd_siginfo info;
	do {
		int64_t left_us = deadline_left_us(by);
		if (poll(fds, 2, left_us ? (int)(left_us / 1000 + 1) : 0) <= 0)
			return false;
		if (fds[1].revents && (read_key() || (fds[1].revents & (POLLHUP | POLLERR))))
			return true;
		if (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
			return info.ssi_signo != SIGWINCH;
	} while (!deadline_passed(by));
	return false;
}

/* --- fetching --- */

struct fetch {
	struct ask ask;
	const struct screen *screen; /* NULL: nobody can say that it is enough */
	bool enough;                 /* somebody has */
};

/* Now and then; not 0: no more of it. */
static int on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t upload_total, curl_off_t upload_now)
{
	struct fetch *f = arg;
	(void)total, (void)now, (void)upload_total, (void)upload_now;
	f->enough = f->screen && wait_for_end(f->screen, (deadline_t){0});
	return f->enough;
}

static bool fetch_open(struct fetch *f, const char *address)
{
	*f = (struct fetch){0};
	bool opened = ask_open(&f->ask, address, "/-/tasks");
	CURL *c = f->ask.curl;
	return opened && curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_XFERINFODATA, f) == CURLE_OK;
}

/* Returns whether f->ask.body is the page; else f->ask.why says what is wrong, or f->enough. */
static bool fetch(struct fetch *f)
{
	int errnum;
	long status = ask(&f->ask, &errnum);
	if (status == 200 || status == 0)
		return status == 200;
	snprintf(f->ask.why, sizeof(f->ask.why), "it answers %ld%s", status,
		 status == 404 ? ": /-/tasks is on server.admin, where there is one, and for loopback else" : "");
	return false;
}

/* --- together --- */

/* One look; s: NULL for a plain one. Returns an exit code. */
static int look(struct fetch *f, const struct tasks_view *v, const struct screen *s)
{
	struct tasks_report_size size = {0};
	struct buf text = BUF_INIT;
	if (!fetch(f))
		return f->enough ? EX_OK : EX_UNAVAILABLE;
	if (s && s->drawn)
		size = screen_size();
	const struct buf *page = &f->ask.body;
	if (tasks_report(&text, page->data ? page->data : "", page->len, v->address, size) < 0) {
		snprintf(f->ask.why, sizeof(f->ask.why), "what it answers is not gatherd's");
		buf_done(&text);
		return EX_UNAVAILABLE;
	}
	bool written = s && s->drawn ? screen_draw(&text) : write_all(text.data, text.len);
	buf_done(&text);
	return written ? EX_OK : EX_IOERR;
}

static int look_again_and_again(struct fetch *f, const struct tasks_view *v)
{
	struct screen s;
	int code;
	if (!screen_open(&s, isatty(STDOUT_FILENO)))
		return EX_OSERR;
	f->screen = &s; // cppcheck-suppress autoVariables ; f leaves it before it goes
	do {
		deadline_t next = deadline_in_us(v->interval_us);
		code = look(f, v, &s);
		if (code != EX_OK || f->enough || wait_for_end(&s, next))
			break;
		if (!s.drawn)
			write_text("\n");
	} while (true);
	f->screen = NULL;
	screen_close(&s);
	return code;
}

int tasks_view(const struct tasks_view *v)
{
	struct fetch f;
	signal(SIGPIPE, SIG_IGN);
	if (!fetch_open(&f, v->address)) {
		fprintf(stderr, "gatherd: \"%s\" is no address: HOST:PORT or unix:/path\n", v->address);
		ask_close(&f.ask);
		return EX_USAGE;
	}
	int code = v->once ? look(&f, v, NULL) : look_again_and_again(&f, v);
	if (code == EX_UNAVAILABLE)
		fprintf(stderr, "gatherd: no tasks of %s: %s\n", v->address, f.ask.why);
	ask_close(&f.ask);
	return code;
}
