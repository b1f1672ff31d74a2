/* Dates as HTTP writes them. The process has the locale C. */
#include "handlers/web/http_date.h"

#include <string.h>
#include <time.h>

#include "base/compiler.h"

void http_date_print(char out[HTTP_DATE_SIZE], int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, HTTP_DATE_SIZE, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
		http_date_print(out, 0);
}

bool http_date_parse(const char *text, size_t len, int64_t *seconds)
{
	static const char *const forms[] = {
		"%a, %d %b %Y %H:%M:%S GMT", /* IMF-fixdate */
		"%A, %d-%b-%y %H:%M:%S GMT", /* RFC 850 */
		"%a %b %e %H:%M:%S %Y",      /* asctime */
	};
	char copy[64];

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = {0};
		const char *end = strptime(copy, forms[i], &tm);
		if (end && *end == '\0') {
			*seconds = timegm(&tm);
			return true;
		}
	}
	return false;
}
