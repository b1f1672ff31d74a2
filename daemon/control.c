/* What the daemon is told or asked; reloads, with their many outcomes, are in control_reload.c. */
#include "daemon/control.h"

#include <stdio.h>
#include <sysexits.h>

#include "daemon/control_call.h"

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
