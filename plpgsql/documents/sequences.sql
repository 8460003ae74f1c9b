-- The document of a sequence, the settings of a version, and what the engine reads in metadata.
do $$
begin
  perform dripdrop._field(
    'sequence', 'key', 'key',
    'lower-case letters, digits, `_` and `-`; unique in the tenant',
    required => true, errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'name', 'title',
    'what people call it',
    hint => 'For example "SaaS onboarding".', minimum => 1, maximum => 200, required => true,
    errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'description', 'text',
    'what it is for',
    maximum => 10000, nullable => true, errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'time_zone', 'time_zone',
    'a name from `pg_timezone_names`; for subscribers who have none',
    nullable => true
  );
  perform dripdrop._field(
    'sequence', 'reentry', 'text',
    '`never`: one enrolment per subscriber and entry key, for good; `after_exit`: again once all '
    'former ones have ended; `always`: again once the last one of the same entry key has ended',
    hint => 'Use never, after_exit or always.', choices => '{never,after_exit,always}',
    nullable => true, preset => '"never"', errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'reentry_interval', 'interval',
    '`30 days`: how long after the start of a former enrolment the next may begin, at the earliest',
    hint => 'Write for example "30 days".', nullable => true, errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'priority', 'integer',
    'which sequence [goes first](limits.md#how-often-one-person-hears-from-us)',
    hint => 'Leave it out for 0; the higher goes first.', minimum => -999999, maximum => 999999,
    nullable => true, preset => '0'
  );
  perform dripdrop._field(
    'sequence', 'exclusive_group', 'key',
    'sequences that [do not go together](limits.md#how-often-one-person-hears-from-us)',
    nullable => true, errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'metadata', 'object',
    'the application''s own; `channel_adapters` and `channel_rotation` give the sequence '
    '[senders](senders.md)',
    hint => 'Pass an object, for example ''{}''.', holds => 'sequence.metadata', preset => '{}',
    errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'mode', 'text',
    '`lifecycle` or `outbound`',
    hint => 'Use lifecycle or outbound.', choices => '{lifecycle,outbound}', nullable => true,
    preset => '"lifecycle"', errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'config', 'object',
    'settings of the version: `hop_limit`, how often an enrolment may come to one step (1 to '
    '1000, 100 unless given); `pool_id`, the pool of an outbound version',
    hint => 'Pass an object, for example ''{}''.', holds => 'sequence.config', preset => '{}',
    errcode => 'ZD201'
  );
  perform dripdrop._field(
    'sequence', 'activate', 'boolean',
    '`false` leaves the new version a draft',
    hint => 'Leave it out to activate the version at once.', preset => 'true'
  );
  perform dripdrop._field(
    'sequence', 'hooks', 'list',
    '[HTTP hooks](hooks.md) of the sequence; one that is left out stays, and secrets never stand '
    'here',
    hint => 'Write [{"key": "score", "url": …}].', holds => 'hook', nullable => true,
    preset => '[]'
  );
  perform dripdrop._field(
    'sequence', 'goals', 'list',
    '[conditions](#conditions): when one holds, the enrolment is completed',
    hint => 'Write [{"predicate": …}, …].', holds => 'condition', maximum => 100,
    nullable => true, preset => '[]',
    errcode => 'ZD208'
  );
  perform dripdrop._field(
    'sequence', 'exit_when', 'list',
    'conditions: when one holds, the enrolment is cancelled',
    hint => 'Write [{"predicate": …}, …].', holds => 'condition', maximum => 100,
    nullable => true, preset => '[]',
    errcode => 'ZD208'
  );
  perform dripdrop._field(
    'sequence', 'entry', 'list',
    '[transitions](#transitions) that choose the first step; without them it is the first active '
    'one',
    hint => 'Write [{"to": "offer", "conditions": […]}, {"to": null}].', holds => 'transition',
    maximum => 100, nullable => true, preset => '[]'
  );
  perform dripdrop._field(
    'sequence', 'steps', 'list',
    'in the order of the flow',
    hint => 'A sequence has at least one step.', minimum => 1, holds => 'step', required => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'sequence.config', 'hop_limit', 'integer',
    'how often an enrolment may come to one step',
    hint => 'how often an enrolment may come to one step, 1 to 1000', minimum => 1, maximum => 1000,
    preset => '100'
  );
  perform dripdrop._field(
    'sequence.config', 'pool_id', 'text',
    'the pool of an outbound version',
    hint => 'the uuid of a pool of senders',
    pattern => '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'sequence.metadata', 'channel_adapters', 'object',
    'the id of a sender by channel',
    hint => 'For example {"email": "0197…"}: list_channel_adapters() shows the ids.'
  );
  perform dripdrop._field(
    'sequence.metadata', 'channel_rotation', 'object',
    '[rotations](senders.md#sharing-messages-among-senders) by channel',
    hint => 'For example {"email": ["Postmark", "Mail"]}.'
  );
end
$$;
