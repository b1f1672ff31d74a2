/* Dates of the proleptic Gregorian calendar, without the C library's tables of zones. */
#include "drivers/mongo/bson/bson.h"

#define MS_A_DAY 86400000

/* Days since 1970-01-01 (Howard Hinnant's algorithms: years begin in March, eras of 400 years). */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t year_of_era = year - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * 146097 + day_of_era - 719468;
}

static int64_t date_of(int64_t days, int *month, int *day)
{
	days += 719468;
	int64_t era = (days >= 0 ? days : days - 146096) / 146097;
	int64_t day_of_era = days - era * 146097;
	int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t shifted = (5 * day_of_year + 2) / 153;
	*day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
	*month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
	return year_of_era + era * 400 + (*month <= 2);
}

static void digits(struct buf *out, int n, int count, char after)
{
	char text[4];

	for (int i = count - 1; i >= 0; i--, n /= 10)
		text[i] = (char)('0' + n % 10);
	buf_append(out, text, (size_t)count);
	if (after)
		buf_char(out, after);
}

void mongo_date_format(struct buf *out, int64_t ms, bool millis)
{
	int64_t days = ms / MS_A_DAY - (ms % MS_A_DAY < 0);
	int of_day = (int)((ms % MS_A_DAY + MS_A_DAY) % MS_A_DAY), month, day;
	int64_t year = date_of(days, &month, &day);

	if (year >= 0 && year <= 9999)
		digits(out, (int)year, 4, '-');
	else
		buf_printf(out, "%+07lld-", (long long)year);
	digits(out, month, 2, '-');
	digits(out, day, 2, 'T');
	digits(out, of_day / 3600000, 2, ':');
	digits(out, of_day / 60000 % 60, 2, ':');
	digits(out, of_day / 1000 % 60, 2, '\0');
	if (millis || of_day % 1000) {
		buf_char(out, '.');
		digits(out, of_day % 1000, 3, '\0');
	}
	buf_char(out, 'Z');
}

/* --- parsing --- */

struct scan {
	const char *at, *end;
};

static bool number(struct scan *s, int count, int least, int most, int *out)
{
	int n = 0;

	for (int i = 0; i < count; i++, s->at++) {
		if (s->at == s->end || *s->at < '0' || *s->at > '9')
			return false;
		n = n * 10 + (*s->at - '0');
	}
	*out = n;
	return n >= least && n <= most;
}

static bool one_of(struct scan *s, const char *set)
{
	if (s->at == s->end || !*s->at || !strchr(set, *s->at))
		return false;
	s->at++;
	return true;
}

static bool fraction(struct scan *s, int *ms)
{
	int scale = 100;

	*ms = 0;
	if (!one_of(s, "."))
		return true;
	const char *begin = s->at;
	for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++, scale /= 10)
		*ms += (*s->at - '0') * scale;
	return s->at > begin;
}

static bool offset(struct scan *s, int *minutes)
{
	int h, m;

	*minutes = 0;
	if (one_of(s, "Zz"))
		return true;
	int sign = s->at < s->end && *s->at == '-' ? -1 : 1;
	if (!one_of(s, "+-") || !number(s, 2, 0, 23, &h) || !one_of(s, ":") || !number(s, 2, 0, 59, &m))
		return false;
	*minutes = sign * (h * 60 + m);
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

bool mongo_date_parse(const char *text, size_t len, int64_t *ms)
{
	struct scan s = {text, text + len};
	int year, month, day, hour = 0, minute = 0, second = 0, millis = 0, zone = 0;

	if (!number(&s, 4, 0, 9999, &year) || !one_of(&s, "-") || !number(&s, 2, 1, 12, &month) || !one_of(&s, "-") ||
	    !number(&s, 2, 1, days_in(year, month), &day))
		return false;
	if (s.at < s.end) {
		if (!one_of(&s, "Tt ") || !number(&s, 2, 0, 23, &hour) || !one_of(&s, ":") ||
		    !number(&s, 2, 0, 59, &minute) || !one_of(&s, ":") || !number(&s, 2, 0, 60, &second) ||
		    !fraction(&s, &millis) || !offset(&s, &zone) || s.at != s.end)
			return false;
	}
	int64_t seconds = (days_of(year, month, day) * 24 + hour) * 3600 + (int64_t)(minute - zone) * 60 + second;
	*ms = seconds * 1000 + millis;
	return true;
}
