-- Every error the engine raises, by SQLSTATE. Class ZD is ours: the standard reserves classes that
-- begin with A to H and 0 to 4. ZD1 not found or wrong state, ZD2 bad argument,
-- ZD3 refused by policy, ZD4 stale claim.
create or replace function dripdrop.errors()
returns table (sqlstate text, name text, meaning text)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  values
    ('ZD101', 'sequence_not_found', 'no such sequence in this tenant'),
    ('ZD102', 'no_active_version', 'the sequence has no active version'),
    ('ZD103', 'version_not_found', 'no such sequence version in this tenant'),
    ('ZD104', 'step_not_found', 'no such step in this version'),
    ('ZD105', 'enrollment_not_found', 'no such enrolment in this tenant'),
    ('ZD106', 'execution_not_found', 'no such step execution in this tenant'),
    ('ZD107', 'adapter_not_found', 'no such channel adapter in this tenant'),
    ('ZD108', 'hook_not_found', 'no such hook in this tenant'),
    ('ZD109', 'rule_not_found', 'no such transition or exit rule in this tenant'),
    ('ZD110', 'invalid_transition', 'the row is in a state that does not allow this move'),
    ('ZD111', 'version_not_draft', 'a version that is or was active does not change'),
    ('ZD112', 'invalid_version', 'the version has problems and cannot be activated'),
    ('ZD113', 'already_exists', 'a row with this key exists already'),
    ('ZD114', 'second_active_version', 'a sequence has at most one active version'),
    ('ZD118', 'cap_not_found', 'no such frequency cap in this tenant'),
    ('ZD119', 'event_not_found', 'no such event of this subscriber in this tenant'),
    ('ZD120', 'not_started', 'the queues do not exist yet'),
    ('ZD121', 'pgmq_missing', 'pgmq is not installed in this database'),
    (
      'ZD122', 'untrusted_owner',
      'something the engine calls belongs to a role that could act as the caller through it'
    ),
    ('ZD123', 'schema_differs', 'the tables are not those that this version is made for'),
    ('ZD124', 'still_used', 'something uses what is to be changed or removed'),
    ('ZD125', 'other_version', 'the caller is of another version than the schema'),
    ('ZD130', 'suppression_not_found', 'no such suppression in this tenant'),
    ('ZD131', 'topic_not_found', 'no such topic in this tenant'),
    ('ZD201', 'invalid_argument', 'an argument is missing or has the wrong shape'),
    ('ZD202', 'unknown_provider', 'no such channel, or no such provider for the channel'),
    ('ZD203', 'invalid_timing', 'the timing does not parse'),
    ('ZD204', 'unknown_time_zone', 'the time zone is not in pg_timezone_names'),
    ('ZD205', 'missing_recipient', 'the data holds no usable recipient for the channel'),
    ('ZD206', 'invalid_definition', 'the sequence document is malformed'),
    (
      'ZD207', 'invalid_tenant_key',
      'a tenant key is null (global) or a non-empty text without a leading colon'
    ),
    ('ZD209', 'invalid_rate', 'the rate does not parse'),
    ('ZD208', 'invalid_condition', 'the condition makes no sense'),
    (
      'ZD301', 'reenrollment_not_allowed',
      'the subscriber was enrolled before and the sequence does not allow it again'
    ),
    ('ZD302', 'sequence_inactive', 'the sequence is switched off'),
    ('ZD303', 'destination_bound', 'sealed credentials go nowhere else than they were given for'),
    (
      'ZD401', 'stale_fence',
      'the claim was lost: another claim, a stop or a replay has moved the execution on'
    )
$$;

comment on function dripdrop.errors() is
  'The errors the engine raises: SQLSTATE, name and meaning, one row each.';
