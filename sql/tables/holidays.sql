create table dripdrop.holidays (
  tenant_key text,
  calendar text not null,
  day date not null,
  constraint holidays_once unique nulls not distinct (calendar, day, tenant_key),
  constraint holidays_tenant_key_is_valid check (tenant_key <> '' and tenant_key not like ':%'),
  constraint holidays_calendar_is_a_slug check (calendar ~ '^[a-z0-9][a-z0-9_-]*$')
);

comment on table dripdrop.holidays is 'Days that are no business days, by calendar.';
comment on column dripdrop.holidays.tenant_key is
  'The tenant; the days of null belong to the calendar of every tenant.';
comment on column dripdrop.holidays.calendar is 'The calendar: de, us-ny, ….';
comment on column dripdrop.holidays.day is 'The day, on the wall calendar of whoever waits.';
