-- What steps, transitions, goals and exits ask, by the type of the condition.
do $$
begin
  perform dripdrop._field(
    'condition.enrollment_data', 'type', 'text',
    'need not be written where another field tells it',
    hint =>
    'Use enrollment_data, event, hook, predicate or time_window; the type may be left out when a '
    'field such as predicate or event tells it.',
    choices => '{enrollment_data}', nullable => true
  );
  perform dripdrop._field(
    'condition.enrollment_data', 'name', 'title',
    'what it is about',
    hint => 'Leave it out, or say what it is about.', minimum => 1, maximum => 200,
    nullable => true
  );
  perform dripdrop._field(
    'condition.enrollment_data', 'field_path', 'path',
    '`plan_tier`, `address.city` or a SQL/JSON path into the enrolment''s data',
    hint =>
    'Write for example plan_tier, address.city, or $."plan-tier" for a name with other signs in '
    'it. Variables are not known here.',
    required => true
  );
  perform dripdrop._field(
    'condition.enrollment_data', 'operator', 'text',
    'how it is compared; `==` unless given',
    hint => 'Use ==, !=, >, <, >=, <=, in or contains.',
    choices => '{==,!=,>,<,>=,<=,in,contains,eq,neq,gt,lt,gte,lte}', nullable => true
  );
  perform dripdrop._field(
    'condition.enrollment_data', 'expected_value', 'any',
    'what it is compared with',
    hint => 'Write null to compare with null.', nullable => true, required => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'condition.event', 'type', 'text',
    'need not be written where another field tells it',
    hint =>
    'Use enrollment_data, event, hook, predicate or time_window; the type may be left out when a '
    'field such as predicate or event tells it.',
    choices => '{event}', nullable => true
  );
  perform dripdrop._field(
    'condition.event', 'name', 'title',
    'what it is about',
    hint => 'Leave it out, or say what it is about.', minimum => 1, maximum => 200,
    nullable => true
  );
  perform dripdrop._field(
    'condition.event', 'event', 'text',
    'the key of the event',
    hint => 'It is the key that track_event() is called with, at most 500 bytes.', minimum => 1,
    maximum => 500, required => true
  );
  perform dripdrop._field(
    'condition.event', 'match', 'object',
    'what its data must contain; `"$.data.order_id"` is what the enrolment''s data holds',
    hint => 'Write what the event''s data must contain, for example {"plan": "pro"}.',
    nullable => true
  );
  perform dripdrop._field(
    'condition.event', 'within', 'interval',
    'how far to look back',
    hint => 'Write for example "7 days"; 100 years are the most.', nullable => true
  );
  perform dripdrop._field(
    'condition.event', 'since', 'text',
    '`enrollment` counts what happened from the enrolment on',
    hint => 'Write "enrollment", or leave it out to look at the time before it too.',
    choices => '{enrollment}', nullable => true
  );
  perform dripdrop._field(
    'condition.event', 'happened', 'boolean',
    '`false` turns it round',
    hint => 'Write true or false.', nullable => true, preset => 'true'
  );
  perform dripdrop._field(
    'condition.event', 'operator', 'text',
    'how it is compared; `==` unless given',
    hint => 'Use ==, !=, >, <, >=, <=, in or contains.',
    choices => '{==,!=,>,<,>=,<=,in,contains,eq,neq,gt,lt,gte,lte}', nullable => true
  );
  perform dripdrop._field(
    'condition.event', 'expected_value', 'any',
    'what it is compared with',
    hint => 'Write null to compare with null.', nullable => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'condition.hook', 'type', 'text',
    'need not be written where another field tells it',
    hint =>
    'Use enrollment_data, event, hook, predicate or time_window; the type may be left out when a '
    'field such as predicate or event tells it.',
    choices => '{hook}', nullable => true
  );
  perform dripdrop._field(
    'condition.hook', 'name', 'title',
    'what it is about',
    hint => 'Leave it out, or say what it is about.', minimum => 1, maximum => 200,
    nullable => true
  );
  perform dripdrop._field(
    'condition.hook', 'hook', 'text',
    'the key of a hook, whose value is compared',
    hint => 'It is the key of an HTTP hook of the sequence or of a registered function.',
    pattern => '^[a-z0-9][a-z0-9_-]{0,199}$', required => true
  );
  perform dripdrop._field(
    'condition.hook', 'operator', 'text',
    'how it is compared; `==` unless given',
    hint => 'Use ==, !=, >, <, >=, <=, in or contains.',
    choices => '{==,!=,>,<,>=,<=,in,contains,eq,neq,gt,lt,gte,lte}', nullable => true
  );
  perform dripdrop._field(
    'condition.hook', 'expected_value', 'any',
    'what it is compared with',
    hint => 'Write null to compare with null.', nullable => true, required => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'condition.predicate', 'type', 'text',
    'need not be written where another field tells it',
    hint =>
    'Use enrollment_data, event, hook, predicate or time_window; the type may be left out when a '
    'field such as predicate or event tells it.',
    choices => '{predicate}', nullable => true
  );
  perform dripdrop._field(
    'condition.predicate', 'name', 'title',
    'what it is about',
    hint => 'Leave it out, or say what it is about.', minimum => 1, maximum => 200,
    nullable => true
  );
  perform dripdrop._field(
    'condition.predicate', 'predicate', 'predicate',
    'the SQL/JSON path predicate that is true of `{enrollment, subscriber, sequence, step, hooks, '
    'steps}`',
    hint =>
    'Write a test such as $.enrollment.score > 70 && $.steps.welcome.state == "sent". '
    '$.enrollment.score alone is a value: compare it, or write exists($.enrollment.score).',
    required => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'condition.time_window', 'type', 'text',
    'need not be written where another field tells it',
    hint =>
    'Use enrollment_data, event, hook, predicate or time_window; the type may be left out when a '
    'field such as predicate or event tells it.',
    choices => '{time_window}', nullable => true
  );
  perform dripdrop._field(
    'condition.time_window', 'name', 'title',
    'what it is about',
    hint => 'Leave it out, or say what it is about.', minimum => 1, maximum => 200,
    nullable => true
  );
  perform dripdrop._field(
    'condition.time_window', 'start', 'text',
    'when it opens',
    hint => 'Write it as 09:00.',
    pattern => '^(([01][0-9]|2[0-3]):[0-5][0-9].*|[0-9]?:[0-5][0-9])$', nullable => true,
    preset => '"00:00"'
  );
  perform dripdrop._field(
    'condition.time_window', 'end', 'text',
    'when it closes; before `start` it is on the next day',
    hint => 'Write it as 17:00; 24:00 is midnight.',
    pattern => '^((([01][0-9]|2[0-3]):[0-5][0-9]|24:00).*|[0-9]?:[0-5][0-9])$', nullable => true,
    preset => '"24:00"'
  );
  perform dripdrop._field(
    'condition.time_window', 'days', 'list',
    'a list of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`: the days on which it opens; every '
    'day unless given',
    hint => 'Write for example ["mon", "tue", "wed", "thu", "fri"].',
    choices => '{mon,tue,wed,thu,fri,sat,sun}', minimum => 1, nullable => true
  );
  perform dripdrop._field(
    'condition.time_window', 'time_zone', 'time_zone',
    'the subscriber''s unless given',
    nullable => true
  );
end
$$;
