-- Other sessions' transactions that have been open for a while with something of ours locked. Their
-- age is told from this transaction's beginning. Stops lock until their transaction ends, never a
-- session: where one holds such a lock without a transaction, somebody else took it, whom Postgres
-- lets any role that may connect, and nobody knows when. Of roles that the owner may not look at
-- (pg_read_all_stats) nothing is known, and nothing is returned.
create or replace function dripdrop.open_transactions(older_than interval default '10 seconds')
returns table (
  pid int,
  role text,
  application text,
  since timestamptz,
  state text,
  stops boolean,
  tables text[]
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    a.pid,
    a.usename::text,
    nullif(a.application_name, ''),
    coalesce(a.xact_start, a.backend_start),
    a.state,
    bool_or(l.locktype = 'advisory'),
    coalesce(array_agg(distinct c.relname::text) filter (where c.relkind = 'r'), '{}')
  from pg_locks as l
  join pg_stat_activity as a on a.pid = l.pid
  join pg_stat_activity as me on me.pid = pg_backend_pid()
  left join pg_class as c
    on c.oid = l.relation and c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'r'
  where l.granted
    and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    and l.pid <> me.pid
    and case
      when a.xact_start is null
      then l.locktype = 'advisory' and a.backend_start is not null
      else a.xact_start <= me.xact_start - open_transactions.older_than
    end
    and case l.locktype
      when 'advisory'
      then l.classid::bigint in (dripdrop._stop_class(), dripdrop._hold_class())
      else c.oid is not null and l.mode not in ('AccessShareLock', 'ShareUpdateExclusiveLock')
    end
  group by a.pid, a.usename, a.application_name, a.xact_start, a.backend_start, a.state
  order by 4, a.pid
$$;

comment on function dripdrop.open_transactions(interval) is
  'Transactions of other sessions that have been open for longer than this and have locked '
  'something here: the messages of what they wrote (tables), or what they stop (stops), wait for '
  'them. State idle: a session that holds the lock of a stop without a transaction, since it '
  'connected at the earliest.';

create or replace function dripdrop._open_transaction_problems(older_than interval)
returns table (problem text, detail text, hint text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'open_transaction',
    format(
      'process %s (%s, role %s), %s since %s, keeps %s waiting',
      t.pid,
      coalesce(t.application, 'an application without a name'),
      t.role,
      case when t.state = 'idle' then 'with a lock of its session, connected' else 'open' end,
      to_char(t.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
      case
        when t.stops then 'the messages that it stops'
        else 'what it changed in ' || array_to_string(t.tables, ', ')
      end
    ),
    format(
      case
        when t.state = 'idle'
        then 'End it with select pg_terminate_backend(%s), and ask who is role "%s": no stop '
          'locks beyond its transaction.'
        else 'Commit it, or end it with select pg_terminate_backend(%s).'
      end,
      t.pid, t.role
    )
  from dripdrop.open_transactions(older_than) as t
$$;

comment on function dripdrop._open_transaction_problems(interval) is
  'Open transactions as startup_check() lists them.';
