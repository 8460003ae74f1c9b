-- What nobody sees and nobody wrote: the mark at the beginning of a file, joiners, soft hyphens,
-- directions. It comes along with what is copied.
create or replace function dripdrop._visible_text(value text)
returns text
language sql
immutable
parallel safe
return btrim(
  case
    when octet_length(value) = length(value) then value
    else translate(
      value,
      E'\ufeff\u200b\u2060\u00ad\u034f\u00a0\u1680\u3000\u200e\u200f\u2028\u2029\u202f\u205f'
      '\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a'
      '\u202a\u202b\u202c\u202d\u202e\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069',
      ''
    )
  end,
  E' \t\r\n\f\x0b\u0085\u200c\u200d'
);

comment on function dripdrop._visible_text(text) is
  'A text without its invisible characters and without the blanks around it.';

-- IDNA as registrars and browsers apply it (UTS 46): compatible forms made one, small letters, each
-- label in Punycode. Postgres knows none of it. What cannot be a domain stays what it is.
create or replace function dripdrop._ascii_address(address text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select lower(parts.words[1]) || (
    select string_agg(dripdrop._ascii_label(l.label), '.' order by l.place)
    from string_to_table(
      translate(normalize(parts.words[2], nfkc), E'\u3002', '.'), '.'
    ) with ordinality as l (label, place)
  )
  from (
    select coalesce(regexp_match(address, '^(.*@)([^@]*)$'), array[address, '']) as words
  ) as parts
$$;

comment on function dripdrop._ascii_address(text) is
  'An email address with its domain in ASCII (IDNA).';

-- RFC 3492, section 6.3. Whole code points, so that the server's collation has no say.
create or replace function dripdrop._ascii_label(label text)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_codes int[];
  v_code int;
  v_next int := 128;
  v_delta bigint := 0;
  v_bias int := 72;
  v_basic int;
  v_done int;
  v_lowest int;
  v_quotient bigint;
  v_threshold int;
  v_place int;
  v_label text;
begin
  if octet_length(label) = length(label) or length(label) > 63 then
    return lower(label);
  end if;
  v_codes := array(
    select dripdrop._small_letter(ascii(l.letter))
    from string_to_table(label, null) with ordinality as l (letter, place)
    order by l.place
  );
  select coalesce(string_agg(chr(c.code), '' order by c.place), ''), count(*)
  into v_label, v_basic
  from unnest(v_codes) with ordinality as c (code, place)
  where c.code < 128;
  v_label := v_label || case when v_basic > 0 then '-' else '' end;
  v_done := v_basic;

  while v_done < cardinality(v_codes) loop
    v_lowest := (select min(c) from unnest(v_codes) as c where c >= v_next);
    v_delta := v_delta + (v_lowest - v_next)::bigint * (v_done + 1);
    v_next := v_lowest;
    foreach v_code in array v_codes loop
      v_delta := v_delta + (v_code < v_next)::int;
      continue when v_code <> v_next;
      v_quotient := v_delta;
      v_place := 36;
      loop
        v_threshold := least(greatest(v_place - v_bias, 1), 26);
        exit when v_quotient < v_threshold;
        v_label := v_label || dripdrop._base_36(
          v_threshold + (v_quotient - v_threshold) % (36 - v_threshold)
        );
        v_quotient := (v_quotient - v_threshold) / (36 - v_threshold);
        v_place := v_place + 36;
      end loop;
      v_label := v_label || dripdrop._base_36(v_quotient);
      v_bias := dripdrop._punycode_bias(v_delta, v_done + 1, v_done = v_basic);
      v_delta := 0;
      v_done := v_done + 1;
    end loop;
    v_delta := v_delta + 1;
    v_next := v_next + 1;
  end loop;
  return 'xn--' || v_label;
end
$$;

comment on function dripdrop._ascii_label(text) is
  'A label of a domain in ASCII: xn-- and Punycode where it is in another script.';

create or replace function dripdrop._base_36(digit bigint)
returns text
language sql
immutable
parallel safe
return substr('abcdefghijklmnopqrstuvwxyz0123456789', digit::int + 1, 1);

comment on function dripdrop._base_36(bigint) is 'A digit of Punycode.';

-- RFC 3492, section 6.1.
create or replace function dripdrop._punycode_bias(delta bigint, points int, is_first boolean)
returns int
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_delta bigint := delta / case when is_first then 700 else 2 end;
  v_bias int := 0;
begin
  v_delta := v_delta + v_delta / points;
  while v_delta > 455 loop
    v_delta := v_delta / 35;
    v_bias := v_bias + 36;
  end loop;
  return v_bias + 36 * v_delta / (v_delta + 38);
end
$$;

comment on function dripdrop._punycode_bias(bigint, int, boolean) is
  'How long the numbers of Punycode are going to be.';

-- The capitals of Latin, Greek and Cyrillic, by Unicode's blocks: lower() knows those of the
-- database's locale only, and in the locale C those of ASCII.
create or replace function dripdrop._small_letter(code int)
returns int
language sql
immutable
parallel safe
return code + case
  when code between 65 and 90 then 32
  when code between 192 and 222 and code <> 215 then 32
  when code = 376 then -121
  when code between 313 and 328 or code between 377 and 382 then code % 2
  when code between 256 and 311 or code between 330 and 375 then 1 - code % 2
  when code = 902 then 38
  when code between 904 and 906 then 37
  when code = 908 then 64
  when code between 910 and 911 then 63
  when code between 913 and 939 then 32
  when code between 1024 and 1039 then 80
  when code between 1040 and 1071 then 32
  when code between 1120 and 1153 or code between 1162 and 1215 then 1 - code % 2
  else 0
end;

comment on function dripdrop._small_letter(int) is 'The small letter of a capital, as code points.';

-- The one place that says how addresses are compared. A domain has its ASCII form, which mail
-- servers take; what a telephone number is written with goes, and 00 is a +.
create or replace function dripdrop._address(form text, written text)
returns text
language sql
immutable
parallel safe
return case form
  when 'mailbox' then
    case
      when octet_length(written) = length(written) then lower(btrim(written, E' \t\r\n\f\x0b'))
      else dripdrop._ascii_address(dripdrop._visible_text(written))
    end
  when 'phone' then
    regexp_replace(
      translate(
        normalize(dripdrop._visible_text(written), nfkc),
        E' .-()/\t\r\n\u2010\u2011\u2013\u2212', ''
      ),
      '^00', '+'
    )
  when 'name' then lower(dripdrop._visible_text(written))
  else dripdrop._visible_text(written)
end;

comment on function dripdrop._address(text, text) is
  'An address as it is compared with others of its form: mailbox, phone, name or none.';

-- A dot-string of RFC 5321, section 4.1.2, and a domain of RFC 1123, section 2.1, within the
-- lengths of RFC 5321, section 4.5.3.1: no server takes anything else. A last label of digits is no
-- domain: an IP address stands in brackets. What regular expressions are slow at is told by simpler
-- means. A telephone number is one of E.164.
create or replace function dripdrop._is_address(form text, address text)
returns boolean
language sql
immutable
parallel safe
return case form
  when 'mailbox' then
    coalesce(
      octet_length(address) <= 254
      and strpos(address, '@') <= 65
      and address ~ '^[a-zA-Z0-9.!#$%&''*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+([.][a-zA-Z0-9-]+)*$'
      and address not like '.%'
      and address not like '%..%'
      and address not like '%.@%'
      and (right(address, 1) not between '0' and '9' or address !~ '[@.][0-9]+$')
      and (
        address not like '%-%'
        or '.' || split_part(address, '@', 2) || '.' !~ '[.]-|-[.]'
      )
      and (length(address) < 66 or split_part(address, '@', 2) !~ '[^.]{64}'),
      false
    )
  when 'phone' then coalesce(address ~ '^[+][1-9][0-9]{6,14}$', false)
  when 'name' then coalesce(address <> '', false)
  else coalesce(form = 'none', false)
end;

comment on function dripdrop._is_address(text, text) is
  'Whether a normalised address is one of its form; of an unknown form none is.';

-- As the driver reads it (check_url): scheme, host, port and nothing between them that two parsers
-- could read in two ways. Everything else is no URL to go to.
create or replace function dripdrop._url_host(url text)
returns text
language sql
immutable
parallel safe
return lower(
  (
    regexp_match(
      url,
      '^https?://([[][0-9a-f:.]{2,45}[]]|([a-z0-9._-]|[^\x01-\x7f]){1,253})(:[0-9]{1,5})?([/?#]|$)',
      'i'
    )
  )[1]
);

comment on function dripdrop._url_host(text) is
  'The host of a URL, in small letters; null where none can plainly be read.';

-- The one place that says which address a channel uses. Null: the channel has none.
create or replace function dripdrop._recipient(
  form text,
  recipient_key text,
  config jsonb,
  data jsonb
)
returns text
language sql
immutable
parallel safe
return case
  when form <> 'none'
  then dripdrop._address(form, data ->> coalesce(config ->> 'recipient_key', recipient_key))
end;

comment on function dripdrop._recipient(text, text, jsonb, jsonb) is
  'The normalised address that an enrolment''s data holds, by the form and the key of a channel.';

-- What looks at one address at a time; what looks at many joins the channels.
create or replace function dripdrop._normalized(channel text, recipient text)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._address(
    (select c.address_form from dripdrop.channels as c where c.channel = _normalized.channel),
    _normalized.recipient
  )
$$;

comment on function dripdrop._normalized(text, text) is
  'An address as it is compared with others of its channel.';
