-- pg_timezone_names reads the time zone directory at every scan (10 to 60 ms);
-- this is its copy, indexed.
create materialized view dripdrop.time_zones as
select name
from pg_catalog.pg_timezone_names;

create unique index time_zones_name on dripdrop.time_zones (name);

comment on materialized view dripdrop.time_zones is
  'The names in pg_timezone_names at installation, indexed; start() refreshes it.';
comment on column dripdrop.time_zones.name is 'IANA name, for example Europe/Berlin.';
