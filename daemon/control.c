/* What the daemon is told or asked; reloads, with their many outcomes, are in control_reload.c. */
#include "daemon/control.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/control_call.h"
#include "daemon/status_report.h"

enum { PLAIN_COLUMNS = 120 }; /* of what is not a terminal */

int control_ready(const char *control, bool on)
{
	struct control_call c = {0};
	int code = EX_USAGE;
	if (control_call_open(&c, control, "/-/ready") &&
	    control_call_posts(&c, on ? "{\"ready\":true}" : "{\"ready\":false}")) {
		long status = ask(&c.ask, &c.errnum);
		code = status == 200 ? EX_OK : control_call_failed(&c, status);
	}
	if (code == EX_OK)
		puts(on ? "ready" : "not ready, until `gatherd ready on`");
	ask_close(&c.ask);
	return code;
}

/* --- status --- */

/* Returns the HTTP status of the answer, which is then in *out; or 0, and an exit code in *code. */
static long fetch(const char *control, const char *target, struct buf *out, int *code)
{
	struct control_call c = {0};
	long status = 0;
	*code = EX_USAGE;
	if (control_call_open(&c, control, target)) {
		status = ask(&c.ask, &c.errnum);
		if (status != 200 && status != 503) {
			*code = control_call_failed(&c, status);
			status = 0;
		}
	}
	*out = c.ask.body;
	c.ask.body = BUF_INIT;
	ask_close(&c.ask);
	return status;
}

static size_t screen_columns(void)
{
	struct winsize size;
	bool terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
	return terminal ? size.ws_col : PLAIN_COLUMNS;
}

static int print_status(const struct status_report *r, bool json)
{
	struct buf out = BUF_INIT;
	int result = 0;
	if (json)
		buf_append(&out, r->status.data, r->status.len);
	else
		result = status_report(&out, r);
	if (json)
		buf_char(&out, '\n');
	if (result == 0)
		fputs(buf_cstr(&out), stdout);
	else
		fputs("gatherd: the status that it answers is not of this version\n", stderr);
	buf_done(&out);
	return result < 0 || !r->is_ready ? EX_UNAVAILABLE : EX_OK;
}

int control_status(const char *control, bool json)
{
	struct status_report r = {.columns = screen_columns()};
	int code;
	long status = fetch(control, "/-/ready", &r.ready, &code);
	r.is_ready = status == 200;
	if (status)
		status = fetch(control, "/-/status.json", &r.status, &code);
	if (status)
		code = print_status(&r, json);
	buf_done(&r.ready);
	buf_done(&r.status);
	return code;
}
